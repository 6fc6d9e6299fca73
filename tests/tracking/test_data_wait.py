"""The hint on the time spent waiting for data."""

import pytest

from vexp.tracking.data_wait import DataWaitMeter, data_wait_hint


@pytest.mark.parametrize(
    ("share", "workers", "printed"),
    [
        (0.1, 2, ""),  # not worth a word
        (0.43, 2, "waiting for data 43% of the time: raise data.num_workers (2 now, 8 cores available)"),
        (0.5, 0, "waiting for data 50% of the time: data.num_workers=0 makes samples between the steps"),
        (0.9, 8, "waiting for data 90% of the time: all 8 cores make samples, so each sample must be cheaper"),
        (0.9, 16, "waiting for data 90% of the time: all 8 cores make samples"),
    ],
)
def test_data_wait_hint(share, workers, printed):
    text = data_wait_hint(share, workers=workers, cores=8)
    assert text.startswith(printed)
    assert bool(text) == bool(printed)


def test_data_wait_meter_ignores_first_line():
    """The workers were starting."""
    waiting = DataWaitMeter()
    assert waiting.share == 0
    waiting.add(9.0, 10.0)
    assert waiting.share == 0.9
    waiting.add(0.1, 1.0)
    waiting.add(0.3, 1.0)
    assert waiting.share == pytest.approx(0.2)
