"""The page of the data contracts says what the declarations say."""

from pathlib import Path

from limitlens.data.contract_page import contract_page


def test_the_page_of_the_contracts_is_current() -> None:
    page = Path(__file__).parents[1] / "docs" / "data-contracts.md"
    mend = "python -m limitlens.data.contract_page > docs/data-contracts.md"
    assert page.read_text(encoding="utf-8") == contract_page(), f"out of date; run {mend}"
