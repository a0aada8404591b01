"""Parse YAML text as plain data with PyYAML's safe loader, with limits against references and numbers that explode."""

from __future__ import annotations

from typing import Any

import yaml

from yolopose.limits import MAX_YAML_DEPTH, MAX_YAML_KEY, MAX_YAML_NODES, MAX_YAML_NUMBER

PLAIN = "tag:yaml.org,2002:str"


class _Loader(yaml.SafeLoader):
    """A safe loader that composes at most `MAX_YAML_NODES` nodes, with references expanded.

    The pure Python one, since libyaml's overflows the stack on deep nesting.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # of complete nodes, with references expanded

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node as PyYAML does, and limit depth and size."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        is_alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > MAX_YAML_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested more than {MAX_YAML_DEPTH} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if id(node) not in self._sizes:
            if is_alias:
                raise yaml.composer.ComposerError(None, None, "a part that contains itself", mark)
            self._sizes[id(node)] = self._size(node, mark)
            if len(self._sizes) > MAX_YAML_NODES or self._sizes[id(node)] > MAX_YAML_NODES:
                raise yaml.composer.ComposerError(None, None, f"more than {MAX_YAML_NODES} entries", mark)
        return node

    def _size(self, node: Any, mark: Any) -> int:
        """The number of nodes in `node`, with references expanded."""
        if isinstance(node, yaml.ScalarNode):
            if node.tag != PLAIN and len(node.value) > MAX_YAML_NUMBER:
                raise yaml.composer.ComposerError(None, None, f"a number of {len(node.value)} characters", mark)
            return 1
        if isinstance(node, yaml.SequenceNode):
            return 1 + sum(self._sizes[id(child)] for child in node.value)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag.endswith(":int") and len(key.value) > MAX_YAML_KEY:
                raise yaml.composer.ComposerError(None, None, f"a key of {len(key.value)} digits", mark)
        return 1 + sum(self._sizes[id(child)] for pair in node.value for child in pair)


def parse(text: str) -> Any:
    """The value of a YAML text as dicts, lists, numbers, dates and text.

    Raises:
        ValueError: not YAML, not plain data, or larger than `limits` allows; with the reason.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except (KeyError, AttributeError, TypeError, IndexError, OverflowError, RecursionError) as error:
        # PyYAML's constructors do not catch these for `!!bool x`, invalid dates, …
        raise ValueError(f"{type(error).__name__}: {error}") from None
