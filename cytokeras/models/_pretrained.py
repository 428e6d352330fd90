"""Loading, saving and publishing of weights, the same for every model of the package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from cytokeras.hub import Publication


class PretrainedModel:
    """Mixin that gives a functional Keras model ``from_pretrained``, ``save_pretrained`` and ``push_to_hub``.

    Put it before ``keras.Model``: ``class AtlasUNet(PretrainedModel, keras.Model)``. The model's
    ``get_config`` must return the arguments of its constructor; they are all that a preset stores of the
    architecture. It must stay a plain class: Keras rewrites ``__bases__`` of every class of a functional
    model, which abstract or generic base classes do not survive.
    """

    @classmethod
    def from_pretrained(
        cls,
        source: str | os.PathLike[str],
        *,
        revision: str | None = None,
        load_weights: bool = True,
        dtype: Any = None,
        local_files_only: bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        **overrides: Any,
    ) -> Self:
        """Build the model of a preset and load its weights.

        Args:
            source: Name of a built-in preset (see ``cytokeras.list_presets()``), a preset folder, or a
                repository of the Hugging Face Hub as ``"org/name"``, ``"hf://org/name"`` or
                ``"hf://org/name@revision"``. A built-in name wins over a folder, a folder over a repository;
                ``"hf://"`` is always the Hub.
            revision: Branch, tag or commit of a Hub repository.
            load_weights: False builds the architecture of the preset with new weights; nothing but
                ``config.json`` is read.
            dtype: Keras dtype policy of the model, for example ``"mixed_bfloat16"``; None keeps the global
                policy.
            local_files_only: True uses only what the Hub cache already holds; None follows
                ``HF_HUB_OFFLINE``.
            cache_dir: Cache folder of Hub downloads; None is that of ``huggingface_hub``.
            token: Access token of the Hub; None is the token stored by ``hf auth login``, False sends none.
            **overrides: Arguments of the model's constructor to change. A new ``num_classes`` gives a new
                output head, ``auxiliary`` one for each further task (announced by a warning) with all other
                weights kept; a new ``input_shape`` keeps every weight.

        Returns:
            The model, ready for ``fit`` and ``predict``.

        Raises:
            UserError: The preset is unknown, cannot be downloaded, is damaged, or holds another class of
                model.
            TypeError: An override is no argument of this model.

        Example:
            >>> unet = AtlasUNet.from_pretrained("path/to/preset", num_classes=5)  # doctest: +SKIP
        """
        from cytokeras.hub import load_preset

        model: Self = load_preset(
            cls,
            source,
            revision=revision,
            load_weights=load_weights,
            dtype=dtype,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=token,
            **overrides,
        )
        return model

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        metadata: Mapping[str, Any] | None = None,
        card: str | None = None,
        golden: bool = False,
    ) -> Path:
        """Write the model as a preset folder that ``from_pretrained`` reads and the Hub shows.

        Args:
            folder: New folder, or a preset folder to replace. Its ``README.md`` is kept unless ``card`` is
                given.
            metadata: What is known of the weights, any of ``description``, ``recipe``, ``data``, ``license``,
                ``scores``, ``source_preset``, ``date``, ``commit``; JSON values. ``data`` is a dict of
                ``description``, ``license`` and ``synthetic`` (bool); ``recipe`` and ``scores`` are dicts
                too.
            card: Text of the model card (``README.md``); None writes one from the metadata.
            golden: Write a golden pair too (``golden.npz``): one example with the outputs of this model, which
                ``cytokeras info FOLDER --check`` compares on other machines.

        Returns:
            The folder.

        Raises:
            UserError: The folder holds something other than a preset, a metadata field is unknown or no JSON,
                or a weight is NaN or infinite.
        """
        from cytokeras.hub import save_preset

        return save_preset(self, folder, metadata=metadata, card=card, golden=golden)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        tag: str | None = None,
        revision: str | None = None,
        commit_message: str | None = None,
        token: str | bool | None = None,
        card: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        golden: bool = False,
    ) -> Publication:
        """Publish the model in a repository of the Hugging Face Hub, which is created when it does not exist.

        The preset is complete on this machine before anything is sent; nothing but its files is sent, in one
        commit, and every commit gets a tag, by which that version can be loaded.

        Args:
            repo_id: ``"org/name"``.
            private: Whether a repository created by this call is private; None is the default of the
                organisation.
            tag: Name of a tag to put on the new commit; None is the next of ``v1``, ``v2``, ….
            revision: Branch to commit to; None is ``main``.
            commit_message: Message of the commit.
            token: Access token with write permission; None is the token stored by ``hf auth login``.
            card: Text of the model card; None keeps the card of the repository, or writes one where it has
                none.
            metadata, golden: As for ``save_pretrained``.

        Returns:
            Source (for ``from_pretrained``), tag and address of the version.

        Raises:
            UserError: No connection, no permission, or the tag exists already.
        """
        from cytokeras.hub import push_preset

        return push_preset(
            self,
            repo_id,
            private=private,
            tag=tag,
            revision=revision,
            commit_message=commit_message,
            token=token,
            card=card,
            metadata=metadata,
            golden=golden,
        )
