"""Trees of files as the kernels of real boards show them, for tests of sensors.

Contents are those of the drivers; values are illustrative with the real steps. Numbers of hwmon
are shuffled by a seed, as on a real board, where they depend on the order of loading.
"""

import errno
import random
import shutil
from pathlib import Path

from slfac.device.energy.host import Host, read_file

PMIC = """\
 3V7_WL_SW_A current(0)=0.09466522A
   3V3_SYS_A current(1)=0.08197812A
   1V8_SYS_A current(2)=0.15029320A
  DDR_VDD2_A current(3)=0.00390372A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.20299340A
    0V8_SW_A current(6)=0.30546610A
  VDD_CORE_A current(7)=0.75012000A
   3V3_DAC_A current(17)=0.00000000A
   3V3_ADC_A current(18)=0.00018315A
   0V8_AON_A current(16)=0.00274725A
      HDMI_A current(22)=0.01660560A
 3V7_WL_SW_V volt(8)=3.62925200V
   3V3_SYS_V volt(9)=3.31652900V
   1V8_SYS_V volt(10)=1.79877700V
  DDR_VDD2_V volt(11)=1.10146400V
  DDR_VDDQ_V volt(12)=0.60622650V
   1V1_SYS_V volt(13)=1.10402800V
    0V8_SW_V volt(14)=0.79853400V
  VDD_CORE_V volt(15)=0.74944980V
   3V3_DAC_V volt(20)=3.31043600V
   3V3_ADC_V volt(21)=3.31684600V
   0V8_AON_V volt(19)=0.79794790V
      HDMI_V volt(23)=5.10138000V
     EXT5V_V volt(24)=5.08530000V
      BATT_V volt(25)=0.00000000V
"""
# The sum of the products above.
PMIC_W = 2.0078143763531755
NO_PMIC = 'error=1 error_msg="Command not registered"\n'
NVPMODEL = """\
< POWER_MODEL ID=0 NAME=15W >
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""


class Board:
    """A tree, what its commands print, what its plugs answer, and which reads fail.

    Attributes:
        host: What sensors see of it.
        now_ns: Its clock, which only tests move.
    """

    def __init__(self, root, seed=0):
        self.root = root
        self.numbers = random.Random(seed).sample(range(1, 40), 30)
        self.now_ns = 5_000_000_000
        self.commands = {}
        self.pages = {}
        self.buses = {}
        self.failing = {}
        self.reads = []
        self.host = Host(
            root,
            read=self._read,
            run=self._run,
            fetch=self._fetch,
            open_bus=self._open_bus,
            clock=lambda: self.now_ns,
            wait=self.after,
        )

    @property
    def live(self):
        """What sensors see of it in a real run: this machine's clock."""
        return Host(self.root, read=self._read, run=self._run, fetch=self._fetch)

    def after(self, seconds):
        """Let time pass."""
        self.now_ns += round(seconds * 1e9)

    def _read(self, path):
        self.reads.append(path)
        # As a conversion would take.
        self.now_ns += 1_000_000
        for end, number in self.failing.items():
            if str(path).endswith(end):
                raise OSError(number, errno.errorcode[number], str(path))
        return read_file(path)

    def _run(self, command):
        said = self.commands.get(" ".join(command))
        if said is None:
            raise FileNotFoundError(errno.ENOENT, "no such program", command[0])
        if isinstance(said, Exception):
            raise said
        return said

    def _fetch(self, url, timeout_s):
        assert timeout_s > 0
        page = self.pages.get(url)
        if isinstance(page, Exception):
            raise page
        if page is None:
            raise OSError("the answer is 404 Not Found")
        return page.encode()

    def _open_bus(self, number):
        if number not in self.buses:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return self.buses[number]

    def write(self, folder, **files):
        """Files of a folder below the root, each with its end of line."""
        path = self.root / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, value in files.items():
            (path / name).write_text(f"{value}\n")
        return path

    def link(self, place, target):
        """A link at a place below the root, relative as those of the kernel."""
        path = self.root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (len(Path(place).parts) - 1)
        path.symlink_to(f"{up}{target}")

    def model(self, text):
        """The board's name, which ends with a NUL."""
        path = self.root / "proc/device-tree/model"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\0")

    def hwmon(self, name, address="", bus="", **files):
        """A chip, below its device where it has an address; its folder is given back."""
        number = self.numbers.pop()
        if not address:
            return self.write(f"sys/class/hwmon/hwmon{number}", name=name, **files)
        device = f"sys/devices/platform/{bus or 'bus'}/{address}"
        folder = f"{device}/hwmon/hwmon{number}"
        self.write(folder, name=name, **files)
        self.link(f"{folder}/device", device)
        self.link(f"sys/class/hwmon/hwmon{number}", folder)
        driver = self.root / f"sys/bus/i2c/drivers/{name}/{address}"
        if not driver.is_symlink():
            self.link(f"sys/bus/i2c/drivers/{name}/{address}", device)
        return self.root / folder

    def ina3221(self, address, *rails, shunt=5000, **files):
        """An INA3221 of JetPack 5: each rail is a label, mV and mA."""
        for n, (label, volts, amperes) in enumerate(rails, 1):
            files |= {f"in{n}_label": label, f"in{n}_input": volts, f"in{n}_enable": 1}
            files |= {f"curr{n}_input": amperes, f"in{n + 3}_input": 40}
            files |= {f"shunt{n}_resistor": shunt}
        files |= {"in7_label": "sum of shunt voltages", "in7_input": 120, "curr4_input": 999}
        return self.hwmon("ina3221", address, "i2c", update_interval=7, **files)

    def iio(self, address, number, *rails):
        """An INA3221 of JetPack 4: each rail is a name, mW, mV and mA."""
        files = {"name": "ina3221x"}
        for n, (label, power, volts, amperes) in enumerate(rails):
            files |= {f"rail_name_{n}": label, f"in_power{n}_input": power}
            files |= {f"in_voltage{n}_input": volts, f"in_current{n}_input": amperes}
        device = f"sys/devices/i2c/{address}"
        folder = f"{device}/iio:device{number}"
        self.write(folder, **files)
        self.link(f"sys/bus/i2c/drivers/ina3221x/{address}", device)
        self.link(f"sys/bus/iio/devices/iio:device{number}", folder)
        return self.root / folder

    def renumber(self):
        """Give every chip of hwmon another number, as loading drivers again does."""
        for link in sorted((self.root / "sys/class/hwmon").iterdir()):
            new = self.numbers.pop()
            if link.is_symlink():
                folder = link.resolve()
                target = folder.with_name(f"hwmon{new}")
                folder.rename(target)
                link.unlink()
                self.link(f"sys/class/hwmon/hwmon{new}", target.relative_to(self.root.resolve()))
            else:
                link.rename(link.with_name(f"hwmon{new}"))

    def swap(self, first, second):
        """Let two chips without a device change their numbers."""
        spare = first.with_name("spare")
        first.rename(spare)
        second.rename(first)
        spare.rename(second)

    def remove(self, folder):
        """Take a chip out."""
        shutil.rmtree(folder)

    def heat(self, **zones):
        """Thermal zones in thousandths of a degree, and two CPU clocks."""
        for n, (kind, temp) in enumerate(zones.items()):
            self.write(f"sys/class/thermal/thermal_zone{n}", type=kind.replace("_", "-"), temp=temp)
        for n, clock in enumerate((1500000, 600000)):
            self.write(
                f"sys/devices/system/cpu/cpufreq/policy{4 * n}",
                scaling_cur_freq=clock,
                scaling_governor="schedutil",
                scaling_driver="cpufreq-dt",
            )

    def jetson(self, model, release="R36 (release), REVISION: 4.3"):
        """What every Jetson has beside its rails."""
        self.model(model)
        self.heat(cpu_thermal=51500, gpu_thermal=48250)
        self.write("sys/class/thermal/thermal_zone9", type="cv0-thermal", temp=-256000)
        self.write("etc", nv_tegra_release=f"# {release}")
        (self.root / "etc/nvpmodel.conf").write_text(NVPMODEL)
        self.write("var/lib/nvpmodel", status="pmode:0002")
        self.write("sys/class/devfreq/17000000.gpu", cur_freq=306000000)
        self.hwmon("soctherm_oc", oc1_event_cnt=0, oc2_event_cnt=0, oc3_event_cnt=0)
        self.hwmon("tegra_pwm_fan", "pwm-fan", pwm1=120)
        return self


def nano(root):
    """Jetson Nano, JetPack 4."""
    board = Board(root).jetson("NVIDIA Jetson Nano Developer Kit", "R32 (release), REVISION: 7.1")
    rails = (("POM_5V_IN", 1870, 5008, 374), ("POM_5V_GPU", 40, 5000, 8))
    board.iio("6-0040", 0, *rails, ("POM_5V_CPU", 480, 5000, 96))
    return board


def tx2(root):
    """Jetson TX2, JetPack 4: the module's input is on the second chip."""
    board = Board(root).jetson("quill", "R32 (release), REVISION: 7.1")
    first = (("VDD_SYS_GPU", 77, 19152, 4), ("VDD_SYS_SOC", 539, 19152, 28))
    board.iio("0-0040", 1, *first, ("VDD_4V0_WIFI", 19, 4792, 4))
    second = (("VDD_IN", 2930, 19144, 153), ("VDD_SYS_CPU", 539, 19136, 28))
    board.iio("0-0041", 0, *second, ("VDD_SYS_DDR", 727, 4776, 152))
    return board


def agx_xavier(root):
    """Jetson AGX Xavier, JetPack 4: no rail for the whole."""
    board = Board(root).jetson("Jetson-AGX", "R32 (release), REVISION: 7.1")
    board.iio(
        "1-0040", 0, ("GPU", 310, 19000, 16), ("CPU", 620, 19000, 32), ("SOC", 930, 19000, 48)
    )
    second = (("CV", 0, 19000, 0), ("VDDRQ", 155, 19000, 8), ("SYS5V", 1370, 5000, 274))
    board.iio("1-0041", 1, *second)
    return board


def xavier_nx_jp4(root):
    """Jetson Xavier NX, JetPack 4."""
    board = Board(root).jetson("NVIDIA Jetson Xavier NX", "R32 (release), REVISION: 7.1")
    rails = (("VDD_IN", 3120, 5000, 624), ("VDD_CPU_GPU_CV", 640, 5000, 128))
    board.iio("7-0040", 0, *rails, ("VDD_SOC", 880, 5000, 176))
    return board


def _module(root, model, address, volts, amperes):
    board = Board(root).jetson(model)
    rails = (("VDD_IN", volts, amperes), ("VDD_CPU_GPU_CV", volts, 64), ("VDD_SOC", volts, 136))
    board.ina3221(address, *rails)
    return board


def xavier_nx(root):
    """Jetson Xavier NX, JetPack 5."""
    return _module(root, "NVIDIA Jetson Xavier NX Developer Kit", "7-0040", 5104, 1016)


def orin_nano(root):
    """Jetson Orin Nano."""
    return _module(root, "NVIDIA Jetson Orin Nano Developer Kit Super", "1-0040", 5104, 1016)


def orin_nx(root):
    """Jetson Orin NX."""
    return _module(root, "NVIDIA Jetson Orin NX Engineering Reference", "1-0040", 4928, 936)


def agx_orin(root, unused=("NC", 19000, 0)):
    """Jetson AGX Orin: two chips, no rail for the whole, one channel not connected."""
    board = Board(root).jetson("Jetson AGX Orin Developer Kit")
    rails = (("VDD_GPU_SOC", 19080, 120), ("VDD_CPU_CV", 19080, 40), ("VIN_SYS_5V0", 5024, 580))
    board.ina3221("1-0040", *rails, shunt=2000)
    board.ina3221("1-0041", unused, ("VDDQ_VDD2_1V8AO", 5016, 100), unused, shunt=2000)
    return board


def thor(root):
    """Jetson Thor: the whole is the INA238's input, and a rail may be negative."""
    board = Board(root).jetson("NVIDIA Jetson AGX Thor Developer Kit", "R38 (release)")
    rails = (("VDD_GPU", 12000, -32), ("VDD_CPU_SOC_MSS", 12000, 480), ("VIN_SYS_5V0", 5000, 1200))
    board.ina3221("2-0040", *rails)
    files = {"in0_input": 2, "in1_input": 12000, "curr1_input": 1917, "power1_input": 23000000}
    board.hwmon("ina238", "2-0044", "i2c", **files, temp1_input=41000)
    return board


def pi5(root):
    """Raspberry Pi 5."""
    board = Board(root)
    board.model("Raspberry Pi 5 Model B Rev 1.0")
    board.heat(cpu_thermal=60350)
    board.commands["vcgencmd pmic_read_adc"] = PMIC
    board.commands["vcgencmd get_throttled"] = "throttled=0x50005\n"
    board.hwmon("rp1_adc", "1f000c8000.adc", in1_input=1483, temp1_input=48917)
    board.hwmon("rpi_volt", "rpi-hwmon", in0_lcrit_alarm=0)
    return board


def pi4(root):
    """Raspberry Pi 4, which has no sensor of its own."""
    board = Board(root)
    board.model("Raspberry Pi 4 Model B Rev 1.4")
    board.heat(cpu_thermal=47712)
    board.commands["vcgencmd pmic_read_adc"] = NO_PMIC
    board.write("sys/devices/platform/soc/soc:firmware", get_throttled="50005")
    board.hwmon("cpu_thermal", "thermal_zone0", temp1_input=47712)
    board.hwmon("rpi_volt", "rpi-hwmon", in0_lcrit_alarm=0)
    return board


def pi4_ina226(root):
    """Raspberry Pi 4 with an INA226 in its supply."""
    board = pi4(root)
    files = {"in0_input": 6, "in1_input": 5000, "curr1_input": 640, "power1_input": 3200000}
    board.hwmon("ina226", "1-0040", "i2c", **files, shunt_resistor=10000, update_interval=2)
    return board


def pi4_ina228(root):
    """Raspberry Pi 4 with an INA228 in its supply, whose driver tells its energy counter."""
    board = pi4(root)
    files = {"in0_input": 9, "in1_input": 5000, "curr1_input": 640, "power1_input": 3200000}
    board.hwmon("ina228", "1-0040", "i2c", **files, energy1_input=81_250_000)
    return board


def server(root):
    """An x86 machine with RAPL: two zones that begin again soon, and their parts."""
    board = Board(root)
    zones = {"0": "package-0", "0:0": "core", "0:1": "dram", "1": "package-1", "2": "psys"}
    for zone, name in zones.items():
        files = {"name": name, "energy_uj": 262_100_000_000, "max_energy_range_uj": 262143328850}
        device = f"sys/devices/virtual/powercap/intel-rapl/intel-rapl:{zone}"
        board.write(device, **files)
        board.link(f"sys/class/powercap/intel-rapl:{zone}", device)
    board.write("sys/class/powercap/intel-rapl", enabled=1)
    board.write("sys/class/powercap/intel-rapl-mmio:0", name="package-0", energy_uj=1)
    return board


def laptop(root):
    """A laptop on its battery, with a USB port that claims to be a supply."""
    board = Board(root)
    supply = "sys/class/power_supply"
    files = {"power_now": 7_480_000, "voltage_now": 11_400_000, "current_now": 656_000}
    board.write(f"{supply}/BAT0", type="Battery", status="Discharging", **files)
    board.write(f"{supply}/AC", type="Mains", online=0)
    port = {"type": "Battery", "status": "Discharging", "power_now": 15_000_000}
    board.write(f"{supply}/ucsi-source-psy-1-00081", **port)
    return board


BOARDS = {
    board.__name__: board
    for board in (
        *(nano, tx2, agx_xavier, xavier_nx_jp4, xavier_nx, orin_nano, orin_nx, agx_orin, thor),
        *(pi5, pi4, pi4_ina226, pi4_ina228, server, laptop),
    )
}
