"""How a console writes for people: sentences, numbers, times, and losses as lines."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from federation.console.chart import MAX_DRAWN, Line, line_chart
from federation.console.look import duration, sentence, value
from federation.sizes import size


@given(
    values=st.lists(
        st.none() | st.floats(-1e6, 1e6) | st.floats(),
        min_size=1,
        max_size=40,
    )
)
def test_every_point_lies_in_the_chart_and_gaps_stay_gaps(values: list[float | None]) -> None:
    points = list(enumerate(values, start=1))
    chart = line_chart([Line(name="loss", kind="mean", points=points)], num_rounds=len(values))
    known = [value for value in values if value is not None and abs(value) < MAX_DRAWN]
    assert (chart is None) == (not known)
    if chart is None:
        return
    (curve,) = chart.curves
    places = [
        tuple(map(float, pair.split())) for pair in curve.path.replace("M", "L").split("L") if pair
    ]
    assert len(places) == len(known)
    for x, y in places:
        assert chart.left <= x <= chart.right
        assert chart.top <= y <= chart.bottom
    assert all(len(tick.text) < 24 for tick in chart.up)
    numbers = [n for n, value in points if value is not None and abs(value) < MAX_DRAWN]
    breaks = sum(later - earlier > 1 for earlier, later in pairwise(numbers))
    assert curve.path.count("M") == breaks + 1


def test_a_lower_loss_is_drawn_lower_and_labels_are_round_numbers() -> None:
    points = [(1, 0.91), (2, 0.5), (3, 0.13)]
    chart = line_chart([Line(name="loss", kind="mean", points=points)], num_rounds=3)
    assert chart is not None
    heights = [float(pair.split()[1]) for pair in chart.curves[0].path[1:].split("L")]
    assert heights == sorted(heights)  # of SVG, whose zero is at the top
    assert [tick.text for tick in chart.up] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [tick.text for tick in chart.across] == ["1", "2", "3"]


def test_a_sentence_begins_like_one_and_marks_what_is_typed_and_nothing_else() -> None:
    told = sentence('type `fedcxr <b>` if `it` & "they" say so, or `')
    assert told == (
        "Type <code>fedcxr &lt;b&gt;</code> if <code>it</code> &amp; &#34;they&#34; say so, or `"
    )
    assert sentence("st-mary: its key is no key") == "st-mary: its key is no key"
    assert sentence("/var/lib is full") == "/var/lib is full"


def test_a_number_too_large_to_read_is_cut() -> None:
    numbers = (0.12345, -1.7e308, 123456.789, math.nan, math.inf, None)
    assert [value(each) for each in numbers] == [
        *("0.1235", "-1.7e+308", "123456.7890", "-", "unlimited", "-"),
    ]


def test_lengths_of_time_and_sizes_are_written_for_people() -> None:
    seconds = (5, 65, 3 * 3600 + 120, 50 * 3600)
    assert [duration(each) for each in seconds] == ["5 s", "1 min 05 s", "3 h 02 min", "2 d 2 h"]
    assert [size(each) for each in (12, 2_400_000, 5.3e9)] == ["12 B", "2.4 MB", "5.3 GB"]
