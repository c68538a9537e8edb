"""A bucket lets through what it says, never more, whatever the order of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cell_monitor_api.services.token_buckets import TokenBuckets


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 200)), max_size=60))
def test_no_more_than_capacity_and_refill(requests):
    now = 0.0
    buckets = TokenBuckets(capacity=500, refill_per_second=10, clock=lambda: now)
    taken = 0
    for pause, amount in requests:
        now += pause
        wait = buckets.take(b"ann", amount)
        if wait == 0:
            taken += max(amount, 1)
        assert taken <= 500 + now * 10 + 1e-6


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_sender_that_waits_for_retry_after_is_accepted(first, second):
    now = 0.0
    buckets = TokenBuckets(capacity=200, refill_per_second=3, clock=lambda: now)
    assert buckets.take(b"ann", first) == 0
    wait = buckets.take(b"ann", second)
    now += wait
    assert wait == 0 or buckets.take(b"ann", second) == 0


def test_senders_do_not_share_and_are_bounded():
    buckets = TokenBuckets(capacity=10, refill_per_second=1, max_senders=3, clock=lambda: 0.0)
    assert buckets.take(b"ann", 10) == 0
    assert buckets.take(b"ann", 1) == 1
    for sender in (b"b", b"c", b"d", b"e"):
        assert buckets.take(sender, 10) == 0
    assert len(buckets) == 3


def test_senseless_settings_are_refused():
    with pytest.raises(ValueError, match="above zero"):
        TokenBuckets(capacity=0)
