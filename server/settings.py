"""The server's settings, validated before anything starts."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from slfac.codec import make_codec
from slfac.codec.schedule import make_schedule
from slfac.codec.spec import Fields, parse_spec
from slfac.server.best import BestBy, parse_early_stop
from slfac.server.live.address import check_listen
from slfac.server.modes.kinds import U_SHAPED, parse_mode
from slfac.server.optim_spec import parse_optimizer
from slfac.wire.addresses import check_address, join_address
from slfac.wire.errors import AddressError, SettingsError
from slfac.wire.factories import DEFAULT_ALLOWED
from slfac.wire.keys import NAME
from slfac.wire.messages import MAX_PARTS, Partition, Plan

# A port alone may be a number.
Listen = Annotated[str, Field(coerce_numbers_to_str=True)]
Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
TorchDevice = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bf16", "auto"]
_REMEDY = "`slfac server --help` lists what is allowed"
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 120
_SCHEMES: dict[str, Literal["own", "iid", "dirichlet"]] = {
    "own": "own",
    "iid": "iid",
    "dirichlet": "dirichlet",
}


class ServerSettings(BaseModel):
    """Everything a server can be told.

    Attributes:
        bundle: Folder of the bundle to train.
        out: Folder for metrics and checkpoints.
        resume: Go on with the run in ``out``.
        bind: ``tcp://HOST:PORT`` to listen on; port ``*`` takes any free one.
        announce: Make the server known on its network by mDNS, for devices that discover it.
        advertise: Of a server under torchrun, the host at which devices reach this machine;
            empty for that of ``bind``.
        shards: Of a server under torchrun, how many devices each rank serves; empty to share
            them out evenly.
        keys: The server's key folder; None needs ``insecure``.
        insecure: Work without keys, on loopback only.
        devices: Names of the devices in the run; empty means every enrolled one.
        min_devices: Start with this many once ``join_timeout_s`` is over, which must then be
            set; 0 means all.
        join_timeout_s: How long to wait for the others then; 0 means for ever.
        mode: Way of split learning: ``parallel``, ``sfl-v1``, ``sfl-v2``, ``relay``,
            ``async:staleness=4`` or ``u-shaped``; ``auto`` is what the bundle was made for.
        rounds: Rounds to train.
        steps_per_round: Steps of a device in a round; 0 means one pass of its data.
        batch_size: Samples a device puts into one step.
        optimizer: Spec of the back half's optimiser.
        device_optimizer: Spec of the devices'; empty means the same.
        schedule: Schedule of both halves' learning rates; each moves its own optimiser's.
        codec_up: Codec of the smashed data.
        codec_down: Codec of the gradients.
        micro_batches: Parts of a step, each with a forward and a backward pass of its own, so
            that one is computed while others travel; 0 takes 4 where neither half holds
            BatchNorm, which rules them out, and else 1.
        stream_blocks: Parts in which a step's data is encoded and sent; it is trained as one.
        partition: ``own``, ``iid`` or ``dirichlet:beta=0.5``.
        seed: Seed of everything random.
        data: Data set with a test split to evaluate on each round; None evaluates nothing.
        evaluate: Whether devices evaluate each round on their test splits where they have the
            labels to themselves, in mode ``u-shaped``.
        best_by: By which score ``checkpoint/best`` is chosen; ``auto`` is balanced accuracy
            for a model with classes, and the loss for others.
        early_stop: End the run when that score gains no more: ``patience=3,min_delta=0.001``;
            empty to train all rounds.
        grace_s: How long a lost connection may take to come back.
        idle_timeout_s: How long the run goes on without any device.
        step_timeout_s: How long a device may keep the others waiting for its next request.
        step_deadline_s: How long a step waits for the batches of all, from the first on; then
            it is made without the late ones. 0 means for ever.
        torch_device: Where the back half is: ``cpu``, ``cuda``, or ``auto`` for CUDA where
            torch finds it.
        precision: In which precision the back half computes, weights aside: ``float32``,
            ``bf16``, or ``auto`` for bf16 on a GPU whose hardware has it.
        threads: Threads of torch and of the evaluation; 0 leaves it to them.
        page: ``[HOST:]PORT`` of a web page that shows the run; 127.0.0.1 without HOST.
        prometheus: ``[HOST:]PORT`` where a Prometheus server may read metrics; likewise.
        tensorboard: Write files for TensorBoard to ``out/tensorboard``.
        allow_factories: What may build a bundle's back half: ``package.module:callable``,
            or ``package.module`` for all that is defined in there. A bundle chooses the
            arguments, so the default is factories that are made for that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bundle: Path
    out: Path
    resume: bool = False
    bind: str = "tcp://0.0.0.0:5555"
    announce: bool = False
    advertise: str = ""
    shards: tuple[Annotated[int, Field(ge=0)], ...] = ()
    keys: Path | None = None
    insecure: bool = False
    devices: tuple[Name, ...] = ()
    min_devices: Annotated[int, Field(ge=0)] = 0
    join_timeout_s: Annotated[float, Field(ge=0)] = 0.0
    mode: str = "auto"
    rounds: Annotated[int, Field(ge=1, le=10**6)] = 10
    steps_per_round: Annotated[int, Field(ge=0, le=10**9)] = 0
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    optimizer: str = "sgd:lr=0.05,momentum=0.9"
    device_optimizer: str = ""
    schedule: str = "constant"
    codec_up: str = "slfac"
    codec_down: str = "slfac"
    micro_batches: Annotated[int, Field(ge=0, le=MAX_PARTS)] = 1
    stream_blocks: Annotated[int, Field(ge=1, le=MAX_PARTS)] = 1
    partition: str = "own"
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    data: Path | None = None
    evaluate: bool = True
    best_by: BestBy = "auto"
    early_stop: str = ""
    grace_s: Annotated[float, Field(ge=0)] = 60.0
    idle_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    step_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    step_deadline_s: Annotated[float, Field(ge=0)] = 0.0
    torch_device: TorchDevice = "auto"
    precision: Precision = "float32"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    page: Listen = ""
    prometheus: Listen = ""
    tensorboard: bool = False
    allow_factories: tuple[str, ...] = DEFAULT_ALLOWED

    def stored(self) -> dict[str, Any]:
        """JSON values from which the run can be taken up again, from any working folder."""
        # Whose code may run is for the one to say who starts a server, not for a file.
        values = self.model_dump(mode="json", exclude={"out", "resume", "allow_factories"})
        for name in ("bundle", "keys", "data"):
            path: Path | None = getattr(self, name)
            values[name] = str(path.resolve()) if path is not None else None
        return values

    def plan(self, micro_batches: int | None = None) -> Plan:
        """What the devices are told.

        Args:
            micro_batches: What was chosen where the setting leaves it open.
        """
        return Plan(
            rounds=self.rounds,
            batch_size=self.batch_size,
            steps_per_round=self.steps_per_round,
            optimizer=self.device_optimizer or self.optimizer,
            codec_up=self.codec_up,
            codec_down=self.codec_down,
            seed=self.seed,
            partition=parse_partition(self.partition),
            schedule=self.schedule,
            micro_batches=micro_batches or self.micro_batches or 1,
            stream_blocks=self.stream_blocks,
        )


def server_settings(**values: Any) -> ServerSettings:
    """Validate settings, with errors that name the field, its value and the remedy.

    Args:
        **values: Fields of :class:`ServerSettings`.

    Returns:
        The settings.

    Raises:
        SettingsError: A field is unknown, missing or out of range, or a spec is wrong.
        AddressError: ``bind`` is malformed.
    """
    return checked_settings(values, {})


def checked_settings(values: Mapping[str, Any], origins: Mapping[str, str]) -> ServerSettings:
    """Validate settings that come from several places.

    Args:
        values: Fields of :class:`ServerSettings`.
        origins: For a field, what to put before its name in an error, such as the name of
            the file that it comes from.

    Returns:
        The settings.

    Raises:
        SettingsError: A field is unknown, missing or out of range, or a spec is wrong.
        AddressError: ``bind`` is malformed.
    """
    if values.get("resume") is True and isinstance(values.get("out"), str | Path):
        # Only a run that goes on needs what reads checkpoints, and torch with it.
        from slfac.server.resumed import resumed_values  # noqa: PLC0415

        values = resumed_values(values)
    try:
        settings = ServerSettings(**values)
    except pydantic.ValidationError as error:
        raise _readable(error, origins) from error
    _check_together(settings, origins)
    addresses = {"bind": settings.bind}
    if settings.advertise:
        addresses["advertise"] = join_address(settings.advertise, 1)
    for name, address in addresses.items():
        try:
            check_address(address, insecure=settings.keys is None)
        except (AddressError, SettingsError) as error:
            raise type(error)(origins.get(name, "") + error.what, error.remedy) from error
    checks: dict[str, Callable[[str], object]] = {
        "mode": parse_mode,
        "codec_up": make_codec,
        "codec_down": make_codec,
        "optimizer": parse_optimizer,
        "partition": parse_partition,
        "page": check_listen,
        "prometheus": check_listen,
        "schedule": partial(
            make_schedule, rounds=settings.rounds, steps_per_round=settings.steps_per_round
        ),
    }
    if settings.device_optimizer:
        checks["device_optimizer"] = parse_optimizer
    if settings.early_stop:
        checks["early_stop"] = parse_early_stop
    for name, check in checks.items():
        spec = getattr(settings, name)
        try:
            check(spec)
        except SettingsError as error:
            what = f"{origins.get(name, '')}setting {name} is {spec!r}: {error.what}"
            raise SettingsError(what, error.remedy or _REMEDY) from error
    _check_deadline(settings, origins)
    _check_micro_batches(settings, origins)
    return settings


def _check_together(settings: ServerSettings, origins: Mapping[str, str]) -> None:
    if settings.keys is None and not settings.insecure:
        raise SettingsError(
            "setting keys is missing",
            "`slfac keys new server --dir DIR` makes keys; pass --keys DIR",
        )
    if settings.keys is None and not settings.devices:
        raise SettingsError("setting devices is empty", "without keys, name the devices of the run")
    if settings.min_devices and not settings.join_timeout_s:
        raise SettingsError(
            f"{origins.get('min_devices', '')}setting min_devices is {settings.min_devices}, "
            "but join_timeout_s is 0: all devices would be waited for, for ever",
            "pass --join-timeout-s S as well",
        )
    if settings.micro_batches != 1 and settings.stream_blocks != 1:
        raise SettingsError(
            f"{origins.get('stream_blocks', '')}setting stream_blocks is {settings.stream_blocks}, "
            f"but micro_batches is {settings.micro_batches}: a step comes in parts of one kind",
            "leave out one of them",
        )
    # Whether a bundle has a head, so that auto means this mode, is not known yet.
    devices_evaluate = settings.mode == U_SHAPED.name and settings.evaluate
    for name, default in (("best_by", "auto"), ("early_stop", "")):
        value = getattr(settings, name)
        if settings.data is None and not devices_evaluate and value != default:
            raise SettingsError(
                f"{origins.get(name, '')}setting {name} is {value!r}, but without data nothing "
                "is evaluated",
                "pass --data PATH, a data set with a test split, or --mode u-shaped where "
                "devices have theirs",
            )


def _check_deadline(settings: ServerSettings, origins: Mapping[str, str]) -> None:
    if settings.step_deadline_s and not parse_mode(settings.mode).kind.together:
        raise SettingsError(
            f"{origins.get('step_deadline_s', '')}setting step_deadline_s is "
            f"{settings.step_deadline_s:g}, but in mode {settings.mode} no step waits for all",
            "leave it out, or use mode parallel or sfl-v2",
        )


def _check_micro_batches(settings: ServerSettings, origins: Mapping[str, str]) -> None:
    if settings.micro_batches < 2:
        return
    what = f"{origins.get('micro_batches', '')}setting micro_batches is {settings.micro_batches}"
    if not parse_mode(settings.mode).kind.in_parts:
        raise SettingsError(
            f"{what}, but mode {settings.mode} trains on whole batches",
            "leave it out, or use mode parallel, sfl-v1 or relay",
        )
    if settings.step_deadline_s:
        raise SettingsError(
            f"{what}, but step_deadline_s is {settings.step_deadline_s:g}: a step in "
            "micro-batches waits for every part",
            "leave out one of them",
        )


def _readable(error: pydantic.ValidationError, origins: Mapping[str, str]) -> SettingsError:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    origin = origins.get(str(first["loc"][0]), "")
    if first["type"] == "missing":
        remedy = f"pass --{name}, or put it into the file of --config"
        return SettingsError(f"setting {name} is missing", remedy)
    what = f"{origin}setting {name} is {_SHORT.repr(first['input'])}"
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, ServerSettings.model_fields, n=1, cutoff=0.0)
        return SettingsError(f"{what}, but there is no such setting", f"the nearest is {near[0]}")
    return SettingsError(f"{what}: {first['msg']}", _REMEDY)


def parse_partition(spec: str) -> Partition:
    """A partition from its spec.

    Args:
        spec: ``own``, ``iid`` or ``dirichlet``, with ``beta`` and ``min_samples``.

    Returns:
        The partition.

    Raises:
        SettingsError: The scheme or an argument is unknown or out of range.
    """
    name, values = parse_spec(spec)
    scheme = _SCHEMES.get(name)
    if scheme is None:
        raise SettingsError(f"partition {name!r} is unknown", "use own, iid or dirichlet:beta=0.5")
    fields = Fields(name, values)
    beta = 0.5
    if name == "dirichlet":
        beta = fields.number("beta", beta, low=0.0, high=1e6, above_low=True)
    min_samples = fields.integer("min_samples", 2, low=2, high=10**6) if name != "own" else 2
    fields.finish()
    return Partition(scheme=scheme, beta=beta, min_samples=min_samples)
