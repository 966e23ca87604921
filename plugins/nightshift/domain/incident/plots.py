"""Plots of the recorder's samples as inline SVG. Pure: the same samples give the same picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape

from nightshift.domain.diagnosis.samples import Sample, steps
from nightshift.domain.incident.samples import Point, Span, keys, means, rates, spans, writers

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 900, 78, 12, 24, 22
_HEIGHT = 150  # of the drawn area of a line plot
_LANE = 26  # height of one lane
_MOST_POINTS = 450  # per line: two pixels each; of several that fall together the largest is kept
_COLOURS = ("a", "b", "c", "d", "e")
_MOST_DISKS = 4
_MIB = 1024.0 * 1024.0


@dataclass(frozen=True)
class Plot:
    """One picture.

    Args:
        title: what it shows, with its unit.
        caption: what the reader should see in it.
        svg: the drawing; everything taken over from samples is escaped.
    """

    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class _Axis:
    """Time from left to right."""

    begin: float
    end: float

    def x(self, time: float) -> float:
        span = max(self.end - self.begin, 1.0)
        share = min(max((time - self.begin) / span, 0.0), 1.0)
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def draw(samples: Sequence[Sample], marks: Sequence[float] = ()) -> list[Plot]:
    """All plots that the samples have something for.

    Args:
        samples: in the order of their times, see `newest_samples`.
        marks: moments that are drawn into each of them, seconds since the epoch.
    """
    if len(samples) < 2:
        return []
    axis = _Axis(samples[0].t, samples[-1].t)
    found = [
        _fsync(samples, axis, marks),
        _slow_applies(samples, axis, marks),
        _disks(samples, axis, marks),
        _pods(samples, axis, marks),
        _api(samples, axis, marks),
    ]
    return [plot for plot in found if plot is not None]


def _fsync(samples: Sequence[Sample], axis: _Axis, marks: Sequence[float]) -> Plot | None:
    lines = {
        "WAL fsync": means(samples, ("etcd", "fsync_sum"), ("etcd", "fsync_count")),
        "backend commit": means(samples, ("etcd", "commit_sum"), ("etcd", "commit_count")),
    }
    said = [
        f"{name}: longest mean of a second {_peak(points)} ms" for name, points in lines.items() if points
    ]
    return _line_plot("etcd's disk, milliseconds", "; ".join(said) + ".", lines, axis, marks)


def _slow_applies(samples: Sequence[Sample], axis: _Axis, marks: Sequence[float]) -> Plot | None:
    grown = [(step.sample.t, step.grown) for step in steps(samples, "etcd", "slow_applies")]
    if not grown:
        return None
    total = sum(value for _, value in grown)
    caption = f"{total:.0f} requests that etcd applied slowly."
    return _line_plot("Slow applies of etcd, per sample", caption, {"slow applies": grown}, axis, marks)


def _disks(samples: Sequence[Sample], axis: _Axis, marks: Sequence[float]) -> Plot | None:
    written = {
        name: rates(samples, "disks", name, "written_bytes", factor=1 / _MIB)
        for name in keys(samples, "disks")
    }
    busiest = sorted(written.items(), key=lambda item: -sum(value for _, value in item[1]))[:_MOST_DISKS]
    wrote = [f"{name} {amount / _MIB:.0f} MiB" for name, amount in writers(samples)[:4] if amount >= _MIB]
    blind = sum(1 for sample in samples if not isinstance(sample.at("writers"), list))
    caption = f"Who wrote most: {', '.join(wrote)}." if wrote else "No process wrote much."
    if blind == len(samples):
        caption = "Who wrote is unknown: it could not be read."
    elif blind:
        caption += f" In {blind} of {len(samples)} samples it could not be read."
    return _line_plot("Written to each disk, MiB per second", caption, dict(busiest), axis, marks)


def _pods(samples: Sequence[Sample], axis: _Axis, marks: Sequence[float]) -> Plot | None:
    lanes = {}
    for name in keys(samples, "pods"):
        found = spans(samples, lambda sample, name=name: _pod_state(sample, name))  # type: ignore[misc]
        if found:
            lanes[name] = found
    if not lanes:
        return None
    hashes = {name: {s.state.partition(" ")[0] for s in found} - {"?"} for name, found in lanes.items()}
    changed = [name for name, known in hashes.items() if len(known) > 1]
    unread = [name for name, known in hashes.items() if not known]
    said = [f"The hash changed: {', '.join(changed)}."] if changed else []
    said += (
        [f"No hash could be read of {', '.join(unread)}: whether it changed is unknown."] if unread else []
    )
    said = said or ["No hash changed."]
    caption = f"A colour is a hash, an edge a new container. {' '.join(said)}"
    return _lane_plot("Static pods' hashes and containers", caption, lanes, axis, marks)


def _pod_state(sample: Sample, name: str) -> str | None:
    pod = sample.at("pods", name)
    if not isinstance(pod, Mapping):
        return None
    return f"{str(pod.get('hash') or '?')[:12]} {str(pod.get('container') or '')[:12]}"


def _api(samples: Sequence[Sample], axis: _Axis, marks: Sequence[float]) -> Plot | None:
    found = spans(samples, _api_state)
    if not found:
        return None
    away = sum(span.end - span.begin for span in found if span.state != "ready")
    caption = f"Not ready or not answering for {away:.0f} s." if away else "Ready in every sample."
    return _lane_plot("API server on this node", caption, {"/readyz": found}, axis, marks)


def _api_state(sample: Sample) -> str | None:
    ready = sample.at("apiserver", "ready")
    if isinstance(ready, bool):
        return "ready" if ready else "not ready"
    missed = sample.at("missed")
    return "no answer" if isinstance(missed, list) and "apiserver" in missed else None


def _line_plot(
    title: str, caption: str, lines: Mapping[str, Sequence[Point]], axis: _Axis, marks: Sequence[float]
) -> Plot | None:
    drawn = {name: _thinned(points, axis) for name, points in lines.items() if points}
    if not drawn:
        return None
    top = max(value for points in drawn.values() for _, value in points) or 1.0
    parts = []
    for number_, (name, points) in enumerate(drawn.items()):
        colour = _COLOURS[number_ % len(_COLOURS)]
        path = " ".join(f"{axis.x(t)},{_y(value, top)}" for t, value in points)
        key = f'<text class="key" x="{_LEFT + 8 + number_ * 170}" y="{_TOP - 9}">{escape(name[:24])}</text>'
        parts.append(f'<g class="{colour}"><polyline points="{path}"/>{key}</g>')
    height = _TOP + _HEIGHT + _BOTTOM
    grid = [
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{_y(v, top)}" y2="{_y(v, top)}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(v, top) + 4}" text-anchor="end">{_short(v)}</text>'
        for v in (0.0, top / 2, top)
    ]
    return Plot(title, caption, _svg(title, caption, height, [*grid, *parts], axis, marks))


def _lane_plot(
    title: str, caption: str, lanes: Mapping[str, Sequence[Span]], axis: _Axis, marks: Sequence[float]
) -> Plot:
    states = list(dict.fromkeys(s.state.partition(" ")[0] for found in lanes.values() for s in found))
    parts = []
    for row, (name, found) in enumerate(lanes.items()):
        y = _TOP + row * _LANE
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 15}" text-anchor="end">{escape(_brief(name))}</text>')
        for place, span in enumerate(found):
            x, width = axis.x(span.begin), max(axis.x(span.end) - axis.x(span.begin), 1.5)
            parts.append(
                f'<g class="{_lane_colour(span.state, states)}"><rect class="bar" x="{x}" y="{y + 3}" '
                f'width="{width:.1f}" height="{_LANE - 8}"><title>{escape(span.state)} from {_clock(span.begin)} to '
                f"{_clock(span.end)}</title></rect></g>"
            )
            if place:
                parts.append(f'<line class="edge" x1="{x}" x2="{x}" y1="{y}" y2="{y + _LANE - 3}"/>')
    height = _TOP + len(lanes) * _LANE + _BOTTOM
    return Plot(title, caption, _svg(title, caption, height, parts, axis, marks))


def _lane_colour(state: str, states: Sequence[str]) -> str:
    known = {"ready": "good", "not ready": "bad", "no answer": "calm"}
    return known.get(state) or _COLOURS[states.index(state.partition(" ")[0]) % len(_COLOURS)]


def _brief(name: str) -> str:
    """The name of a component without its prefix: the margin is narrow."""
    return name.removeprefix("kube-").replace("controller-manager", "controllers")[:12]


def _svg(
    title: str, caption: str, height: int, parts: Sequence[str], axis: _Axis, marks: Sequence[float]
) -> str:
    bottom = height - _BOTTOM
    span = axis.end - axis.begin
    ticks = [
        f'<text x="{axis.x(t)}" y="{height - 6}" text-anchor="{anchor}">{_clock(t)}</text>'
        for t, anchor in (
            (axis.begin, "start"),
            (axis.begin + span / 3, "middle"),
            (axis.begin + span * 2 / 3, "middle"),
            (axis.end, "end"),
        )
    ]
    dashes = [
        f'<line class="mark" x1="{axis.x(t)}" x2="{axis.x(t)}" y1="{_TOP}" y2="{bottom}"/>'
        for t in marks
        if axis.begin <= t <= axis.end
    ]
    label = escape(f"{title}. {caption}", quote=True)
    inner = "".join([*parts, *dashes, *ticks])
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">{inner}</svg>'


def _thinned(points: Sequence[Point], axis: _Axis) -> list[Point]:
    """At most `_MOST_POINTS`: of those that fall together the largest, which is what the reader looks for."""
    step = max(axis.end - axis.begin, 1.0) / _MOST_POINTS
    kept: dict[int, Point] = {}
    for time, value in points:
        place = int((time - axis.begin) / step)
        if place not in kept or value > kept[place][1]:
            kept[place] = (time, value)
    return list(kept.values())


def _y(value: float, top: float) -> float:
    return round(_TOP + (1 - value / top) * _HEIGHT, 1)


def _peak(points: Sequence[Point]) -> str:
    return _short(max(value for _, value in points))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.2g}"


def _clock(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "?"
