"""What fronts and codecs that were not measured would cost, by those that were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slfac.device.profiling.figures import of_kind, peak_mib, phase_ms
from slfac.device.profiling.record import Record, Section
from slfac.hw_profiles.codec_fit import MIN_TENSORS, TimedTensor, fit_codec
from slfac.hw_profiles.fit import MIN_FRONTS, Timed, fit_memory, fit_phases
from slfac.hw_profiles.schema import CodecCost, MemoryCost, PhaseCost
from slfac.wire.costs import Costs, costs_id


class Fits:
    """Fits over one measurement.

    Args:
        record: The measurement.
        costs: What its fronts cost, by index; None of those that do not say.
        source: What to call it in the figures.
        threads: With how many threads fronts and codecs were measured.
    """

    def __init__(
        self, record: Record, costs: Mapping[int, Costs | None], source: str, threads: int
    ) -> None:
        self._record = record
        self._source = source
        self._threads = threads
        self._timed = [
            timed
            for section in of_kind(record, "front")
            if (timed := _timed(record, section, costs.get(section.front or 0))) is not None
        ]

    @property
    def lacking(self) -> str:
        """Why there are no fits of phases; empty if there are, or no fronts."""
        different = len({costs_id(front.costs) for front in self._timed})
        if different >= MIN_FRONTS or not self._record.fronts:
            return ""
        return (
            f"this profile cannot predict fronts that were not measured: that takes {MIN_FRONTS} "
            f"different ones whose bundles hold costs.json, and {different} were measured"
        )

    def phases(self) -> tuple[PhaseCost, ...]:
        """What the phases of a front cost; none from too few fronts."""
        if self.lacking or not self._timed:
            return ()
        return fit_phases(self._timed, source=self._source, date=self._date, threads=self._threads)

    def memories(self) -> tuple[MemoryCost, ...]:
        """What memory a front takes; none from too few fronts."""
        fitted = fit_memory(self._timed, source=self._source, date=self._date)
        return () if fitted is None else (fitted,)

    def codec(self, spec: str, sections: Sequence[Section]) -> CodecCost | None:
        """What a codec costs.

        Args:
            spec: The codec, as it calls itself.
            sections: Those in which it was measured.

        Returns:
            The fit; None from too few sizes of tensors.
        """
        tensors = []
        for section in sections:
            encode, decode = phase_ms(section, "encode"), phase_ms(section, "decode")
            if encode and decode and encode.value > 0 and decode.value > 0:
                tensors.append(TimedTensor(int(section.amount), encode.value, decode.value))
        if len({tensor.size_bytes for tensor in tensors}) < MIN_TENSORS:
            return None
        return fit_codec(
            tensors, spec=spec, source=self._source, date=self._date, threads=self._threads
        )

    @property
    def _date(self) -> str:
        return self._record.date[:10]


def _timed(record: Record, section: Section, costs: Costs | None) -> Timed | None:
    """A front whose costs and times are known."""
    forward, backward, update = (
        phase_ms(section, phase) for phase in ("forward", "backward", "update")
    )
    if costs is None or not (forward and backward and update):
        return None
    if not min(forward.value, backward.value, update.value) > 0:
        return None
    front = record.fronts[section.front or 0]
    peak = peak_mib(front.peak_bytes)
    return Timed(
        costs=costs,
        batch=front.batch,
        forward_ms=forward.value,
        backward_ms=backward.value,
        update_ms=update.value,
        peak_mib=peak.value if peak else None,
        model=front.model,
    )
