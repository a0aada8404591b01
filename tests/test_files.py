"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from yolopose.files import beside, intended, write_text


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "page.html"
    with beside(target) as part:
        part.write_text("half")
        assert (part.parent, part.suffix) == (target.parent, target.suffix)
        assert (intended(part), intended(target)) == (target, target)
        assert not target.exists()
    assert [f.name for f in target.parent.iterdir()] == ["page.html"]


def test_a_failure_leaves_the_older_file(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    write_text(target, "older")
    with pytest.raises(UnicodeEncodeError):
        write_text(target, "half, then what UTF-8 cannot write: \udc80")
    assert [(f.name, f.read_text()) for f in tmp_path.iterdir()] == [("page.html", "older")]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    target = tmp_path / "name_model"
    for words in ("older", "newer"):
        with beside(target) as part:
            assert part.name.endswith("name_model")
            part.mkdir()
            (part / words).write_text(words)
    assert [f.name for f in target.iterdir()] == ["newer"]

    def fail() -> None:
        with beside(target) as part:
            part.mkdir()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert [f.name for f in tmp_path.iterdir()] == ["name_model"]


def test_a_file_about_another_goes_along(tmp_path: Path) -> None:
    target = tmp_path / "name.pb"
    with beside(target) as part:
        part.write_text("graph")
        part.with_name(f"{part.name}.yaml").write_text("names")
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"name.pb": "graph", "name.pb.yaml": "names"}

    def fail() -> None:
        with beside(target) as part:
            part.with_name(f"{part.name}.yaml").write_text("other names")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert {f.name: f.read_text() for f in tmp_path.iterdir()} == {"name.pb": "graph", "name.pb.yaml": "names"}
