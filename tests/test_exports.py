from __future__ import annotations

import pytest

import custodes


@pytest.mark.parametrize("name", custodes.__all__)
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(custodes, name) is not None


def test_an_unknown_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = custodes.nothing
