from hypothesis import given
from hypothesis import strategies as st

from orchestrator.page.history.metric_history import MetricHistory, extremes


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(1, 40))
def test_downsampled_values_keep_their_bounds(values: list[float], spans: int) -> None:
    chosen = list(extremes(values, 0, len(values), spans))
    kept = [values[i] for i in chosen]
    assert chosen == sorted(set(chosen)) and len(chosen) <= max(2 * spans + 2, 0)
    assert (min(kept), max(kept)) == (min(values), max(values))
    assert chosen[0] == 0 and chosen[-1] == len(values) - 1


def test_values_at_a_time_and_a_window() -> None:
    history = MetricHistory()
    for i in range(1000):
        history.add("agent-0", "return", float(i), 10 * i, i, float(i % 100))
    metric = history.get("return", "agent-0")
    assert metric is not None
    assert metric.value(-0.5) is None and metric.value(0.0) == 0.0 and metric.value(57.9) == 57.0 and metric.value() == 99.0
    window = metric.window(899.0, 20)
    assert window.t[0] == 900.0 and window.t[-1] == 999.0 and len(window.t) <= 22
    assert min(window.v) == 0.0 and max(window.v) == 99.0 and window.step[0] == 9000
    assert history.value(("none", "return"), "agent-0", 3.0) == 3.0 and history.value(("return",), "agent-1") is None
    history.forget("agent-0")
    assert history.names() == {}


def test_late_values_are_put_at_their_time() -> None:
    history = MetricHistory()
    for t in (1.0, 4.0, 2.0, 5.0, 2.0):
        history.add("run", "models.disagreement", t, int(t), 0, 10 * t)
    metric = history.get("models.disagreement", "run")
    assert metric is not None and list(metric.t) == [1.0, 2.0, 2.0, 4.0, 5.0] and list(metric.v) == [10.0, 20.0, 20.0, 40.0, 50.0]
    assert list(metric.step) == [1, 2, 2, 4, 5] and metric.value(3.0) == 20.0


def test_the_number_of_points_is_bounded() -> None:
    history = MetricHistory(most=2000)
    for i in range(20_000):
        history.add("agent-0", "return", float(i), i, i, float(i))
        history.add("agent-1", "return", float(i), i, i, 1.0 if i == 7 else 0.0)
    first, second = (history.get("return", f"agent-{i}") for i in range(2))
    assert first is not None and second is not None
    assert len(first.v) + len(second.v) <= 2000
    assert list(first.t) == sorted(first.t) and first.t[0] == 0.0 and first.t[-1] == 19_999.0
    assert max(second.v) == 1.0, "a peak is kept however much is left out"
