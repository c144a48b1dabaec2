"""Every notebook, top to bottom, each in a process of its own; what its checks measure goes into the site."""
import ledger
import notebooks
import pytest


@pytest.mark.parametrize("page", notebooks.pages())
def test_notebook(page: str) -> None:
    done = ledger.run_page(page)
    if done.returncode:
        pytest.fail(f"nbs/{page}.ipynb\n{done.stdout}{done.stderr}", pytrace=False)
