"""The report page: complete in one file, honest about its data, safe against any text."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cytokeras.analysis import ReportSection, evaluate, write_html
from cytokeras.brain import ArrayImage, LabelScheme
from cytokeras.errors import UserError
from cytokeras.inference import OutputGrid, Segmentation

NASTY = "<script>alert('x')</script> & \"quotes\""
SCHEME = LabelScheme(
    ("background", "white matter", "hOc1", "hOc2 <b>&"),
    ((255, 255, 255), (200, 200, 200), (220, 40, 40), (250, 150, 30)),
)
GRID = OutputGrid((20, 30), 16.0, (0.0, 0.0), 1.0)
VOID = {"meta", "img", "input", "br", "link", "hr"}


def labels(shift=0):
    result = np.zeros((20, 30), np.uint8)
    result[4:16, 4 + shift : 14] = 2
    result[4:16, 14 : 26 - shift] = 3
    return result


def report(path, **changes):
    image = ArrayImage(np.full((20, 30), 150, np.uint8), 16.0, background=150)
    main = Segmentation(labels(1), None, GRID, SCHEME.names)
    other = Segmentation(labels(3), None, GRID, SCHEME.names)
    arguments = {
        "scheme": SCHEME,
        "title": "Areas",
        "synthetic": True,
        "evaluations": {
            "pretrained": evaluate(main, labels(), scheme=SCHEME, name="s1"),
            "random": evaluate(other, labels(), scheme=SCHEME, name="s1"),
        },
        "facts": {"Preset": "tiny", "Pixel size": "16 µm"},
    }
    sections = [ReportSection("s1", image, {"pretrained": main, "random": other}, labels())]
    write_html(path, changes.pop("sections", sections), **{**arguments, **changes})
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Collects tags, addresses and text, and checks that tags close in order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.sources, self.text = [], [], [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def test_page_is_well_formed_and_needs_nothing_else(tmp_path):
    text = report(tmp_path / "r.html")
    page = Page(text)
    assert "script" not in page.tags and "link" not in page.tags
    assert page.sources and all(source.startswith("data:image/png;base64,") for source in page.sources)
    assert not re.search(r"https?://|url\(|@import", text)


def test_pictures_show_section_annotation_and_both_predictions(tmp_path):
    page = Page(report(tmp_path / "r.html"))
    assert len(page.sources) == 4
    pictures = [Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in page.sources]
    assert {picture.size for picture in pictures} == {(30, 20)}
    captions = "|".join(page.text)
    assert all(caption in captions for caption in ("Annotation", "Prediction: pretrained", "Prediction: random"))


@pytest.mark.parametrize(("synthetic", "statement"), [(True, "Synthetic data."), (False, "Real data.")])
def test_page_says_whether_its_data_is_real(tmp_path, synthetic, statement):
    text = "".join(Page(report(tmp_path / "r.html", synthetic=synthetic)).text)
    assert statement in text
    assert text.index(statement) < text.index("Dice")


def test_scores_of_both_results_stand_side_by_side(tmp_path):
    text = "".join(Page(report(tmp_path / "r.html")).text)
    # one of 10 columns of hOc1 is missed: Dice 2 * 9 / 19; three are missed: 2 * 7 / 17
    assert f"{18 / 19:.3f}" in text and f"{14 / 17:.3f}" in text


def test_legend_has_the_shown_classes_with_their_colours(tmp_path):
    text = report(tmp_path / "r.html")
    legend = re.search(r'<ul class="legend">.*?</ul>', text).group()
    assert legend.count("<li>") == 2 and "background:rgb(220,40,40)" in legend
    assert "hOc2 &lt;b&gt;&amp;" in legend


def test_every_text_is_escaped(tmp_path):
    image = ArrayImage(np.full((20, 30), 150, np.uint8), 16.0, background=150)
    main = Segmentation(labels(1), None, GRID, SCHEME.names)
    text = report(
        tmp_path / "r.html",
        title=NASTY,
        text=NASTY,
        facts={NASTY: NASTY},
        evaluations={NASTY: evaluate(main, labels(), scheme=SCHEME, name=NASTY)},
        sections=[ReportSection(NASTY, image, {NASTY: main, NASTY + "2": main}, labels())],
        pictures={NASTY: Image.new("RGB", (4, 4))},
    )
    page = Page(text)
    assert "script" not in page.tags
    # title twice, text, two in the facts, section heading, scores head twice and their section, three captions
    assert "".join(page.text).count(NASTY) == 12
    assert '"quotes"' not in text


def test_page_without_scores_and_facts_has_no_such_headings(tmp_path):
    text = report(tmp_path / "r.html", evaluations=None, facts=None)
    assert "Scores" not in text and "Made with" not in text


def test_section_without_prediction_is_refused(tmp_path):
    image = ArrayImage(np.full((20, 30), 150, np.uint8), 16.0)
    with pytest.raises(UserError, match="section 's9' has no prediction"):
        report(tmp_path / "r.html", sections=[ReportSection("s9", image, {})])


def test_truth_on_another_grid_is_refused(tmp_path):
    image = ArrayImage(np.full((20, 30), 150, np.uint8), 16.0)
    main = Segmentation(labels(), None, GRID)
    section = ReportSection("s9", image, {"a": main}, np.zeros((3, 3), np.uint8))
    with pytest.raises(UserError, match="section 's9', annotation: must lie on the output grid"):
        report(tmp_path / "r.html", sections=[section])


def test_evaluations_of_other_classes_are_refused(tmp_path):
    other = LabelScheme(("a", "b", "c", "d"), SCHEME.colors)
    main = Segmentation(labels(), None, GRID)
    with pytest.raises(UserError, match="must have the classes of the scheme"):
        report(tmp_path / "r.html", evaluations={"x": evaluate(main, labels(), scheme=other)})


def test_a_failed_report_leaves_nothing_behind(tmp_path):
    image = ArrayImage(np.full((20, 30), 150, np.uint8), 16.0)
    with pytest.raises(UserError):
        report(tmp_path / "r.html", sections=[ReportSection("s9", image, {})])
    assert list(tmp_path.iterdir()) == []
