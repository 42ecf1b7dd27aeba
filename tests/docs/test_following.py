"""Following a page fails where the page is wrong: else the pages' own tests would say nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import Follower, surroundings

RIGHT = """# A page

```python
# new/file.py
NUMBER = 1
```

```diff
+++ new/file.py
 NUMBER = 1
+OTHER = 2
```

```console
$ export WORD=three && echo $WORD 4; echo unseen >&2
three  ...
$ cat > new/text <<'END'
> a line
> END
$ cat new/text
a line
```

```pycon
>>> from pathlib import Path
>>> len(Path("new/file.py").read_text().splitlines())
2
```

```text
nothing is done
```
"""


def follow(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.md").write_text(text)
    (tmp_path / "tree").mkdir()
    Follower(tmp_path / "tree", surroundings(tmp_path / "tree")).follow(tmp_path / "page.md")


def test_a_page_that_is_right_is_followed_to_its_end(tmp_path: Path) -> None:
    follow(tmp_path, RIGHT)
    assert (tmp_path / "tree/new/file.py").read_text() == "NUMBER = 1\nOTHER = 2\n"


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("three  ...", "four  ...", "the page shows"),
        ("a line\n```", "another line\n```", "the page shows"),
        ("cat new/text", "cat new/none", "No such file"),
        (">>> len(Path", ">>> 1 + len(Path", "Expected:"),
        (" NUMBER = 1\n+", " NUMBER = 5\n+", "holds 0 times"),
        ("# new/file.py\n", "", "no new file is named"),
        ("OTHER = 2", "OTHER=2", "OTHER"),
        ("```text", "```rust", "never tried"),
        (RIGHT, "# A page\n", "asks for nothing"),
    ],
    ids=lambda value: "" if len(value) > 60 else " ".join(value.split()),
)
def test_a_page_that_is_wrong_is_not(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    assert right in RIGHT
    with pytest.raises(AssertionError, match=said):
        follow(tmp_path, RIGHT.replace(right, wrong))
