# make demo   installs, then trains three devices on MNIST digits
# make test   installs, then runs every test; on other Pythons found, the device's tests
# make lint   ruff, mypy, import-linter
# make bench  the benchmarks
# make screenshot  docs/live.png, of a run of its own (needs Chromium)
# make testbed  a LAN of five emulated devices, one cut off and one killed (root)
# make chaos  kills processes of a run at random, and compares the weights
# make deb-test  the Debian package on arm64 systems: chroots and QEMU; an hour
# make results  the figures that README and docs quote; results-codec: the codecs' alone;
#   results-front: those of a device's step beside torch's; results-overlap: of steps in parts;
#   results-simulate: of a simulated run beside a real one;
#   results-server: of a server under many devices; results-chaos: what `make chaos` ends with
# make results-rate, results-rivals  accuracy against bytes on validation images, hours;
#   then results-test
# make results-link  time to a target accuracy at 5 Mbit/s; results-ablation: the paper's;
#   results-resnet18: the test set again, with another model; results-motion: smartwatch movements;
#   results-paper: the paper's experiment, reduced, three hours; results-finetune;
#   results-time: seconds to a target accuracy over emulated links (root), three hours;
#   results-modes: ways of split learning beside torch; results-energy: simulated power traces;
#   results-links: the transport beside iperf3 over emulated links (root, Debian's iperf3);
#   results-predict: predicted and measured times of fronts, and the profile that plans are carried
#   over from; results-plan: the plans of docs/plan.md; results-profile: what `slfac profile run`
#   says of this machine
# make image-test  device images: built for each board, built again from their lock, booted in
#   QEMU, a stranger refused, a loop device written; one to two hours, goes on where it stopped
# make results-image  the same, and the figures of docs/image.md
# make capture-flash  docs/flash.svg, what `slfac image flash` shows

# The CPU build of torch that constraints.txt pins is found most surely on 3.11.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.10 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& command -v $$p && break; done)
OTHER_PYTHONS := 3.10 3.12 3.13
PIP_INSTALL := pip install --quiet --disable-pip-version-check -c constraints.txt
BIN := .venv/bin

# Debian's package dataset-fashion-mnist puts the 70000 images here.
FASHION ?= /usr/share/datasets/fashion-mnist

.PHONY: results results-codec results-front results-overlap results-simulate results-rate \
	results-test \
	results-rivals results-link results-ablation results-resnet18 results-finetune results-modes \
	results-motion results-paper results-time \
	results-server results-chaos results-energy results-predict results-plan \
	results-profile results-links results-image results-testbed testbed \
	image-test capture-flash \
	demo test test-main test-others lint bench chaos screenshot deb-test install clean

demo: .venv/.installed
	$(BIN)/slfac demo $(DEMO)

test: test-main test-others

test-main: .venv/.dev .venv/.tools
	$(BIN)/python -m pytest $(PYTEST)

# The wheel, not the tree: what a board would install, on each Python a board may have.
test-others: .venv/.dev .venv/.tools
	rm -rf dist && $(BIN)/python -m build --wheel --outdir dist . >/dev/null
	@for version in $(OTHER_PYTHONS); do \
		for python in python$$version $$HOME/.pyenv/versions/$$version.*/bin/python; do \
			$$python -c 'pass' 2>/dev/null || continue; \
			echo "== device tests on Python $$version"; \
			$$python -m venv --clear .venvs/$$version || exit 1; \
			.venvs/$$version/bin/python -m $(PIP_INSTALL) \
				"slfac[device,image,images] @ file://$$(ls $$PWD/dist/*.whl)" \
				hypothesis pytest pytest-benchmark pytest-randomly pytest-timeout || exit 1; \
			.venvs/$$version/bin/python -m pytest -m device || exit 1; \
			break; \
		done; \
	done

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Kills servers and devices at twenty random series of instants; some ten minutes.
chaos: .venv/.dev
	cd tests && ../$(BIN)/python -m harness.chaos $(CHAOS)

# Five devices on emulated links, over SSH, from `up` to `down`; needs root, some five minutes.
testbed: .venv/.dev .venv/.tools
	cd tests && ../$(BIN)/python -m harness.testbed $(TESTBED)

results-testbed: .venv/.dev .venv/.tools
	cd tests && ../$(BIN)/python -m harness.testbed --json ../docs/results/testbed.json $(TESTBED)

# As an ordinary user, with what `slfac image build` needs and QEMU. DEB="--on bookworm" for one.
deb-test: .venv/.dev
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m harness.debs \
		--json ../docs/results/deb.json $(DEB)

# What a browser shows of the demo's run.
screenshot: .venv/.dev
	cd tests && ../$(BIN)/python -m harness.screenshot ../docs/live.png

# IMAGE="--user NAME": called by root, who alone may write loop devices, all else as that user.
image-test: .venv/.dev .venv/.tools
	cd tests && ../$(BIN)/python -m harness.image_trial $(IMAGE)

results-image: .venv/.dev .venv/.tools
	cd tests && ../$(BIN)/python -m harness.image_trial --write $(IMAGE)

capture-flash: .venv/.dev
	cd tests && ../$(BIN)/python -m harness.capture_flash ../docs/flash.svg

results-chaos: .venv/.dev
	cd tests && ../$(BIN)/python -m harness.chaos --json ../docs/results/chaos.json $(CHAOS)

# Nothing else should be running; some minutes on two cores.
results-server: .venv/.dev
	cd tests && ../$(BIN)/python -m harness.load --json ../docs/results/server-load.json $(LOAD)

# Exporting 44 fronts takes most of the time; fronts/ keeps them for another one.
results-predict: .venv/.dev
	$(BIN)/slfac bench predict --bundles fronts --json docs/results/predict.json \
		--profile hw_profiles/reference/x86-xeon.toml

PLAN := $(BIN)/slfac plan --classes 10 --data 5000 --codec none,fp16,slfac,slfac-rd
RESNET18 := --model resnet18 --input 3x32x32 \
	--cuts relu,layer1.0,layer1,layer2.0,layer2,layer3.0,layer3,layer4.0,layer4
MOBILENET := --model mobilenet_v2 --input 3x64x64 --cuts features.0,features.1,features.2,$\
features.3,features.5,features.8,features.11,features.14,features.17,features.18

results-plan: .venv/.dev
	$(PLAN) $(RESNET18) --board pi-4b --link wifi-20/5ms --out docs/results/plan-resnet18-pi-4b
	$(PLAN) $(MOBILENET) --board pi-4b --link wifi-20/5ms --out docs/results/plan-mobilenet-pi-4b
	$(PLAN) $(RESNET18) --board orin-nano --link ethernet-100/1ms \
		--out docs/results/plan-resnet18-orin-nano
	$(PLAN) $(MOBILENET) --board orin-nano --link ethernet-100/1ms \
		--out docs/results/plan-mobilenet-orin-nano

bench: .venv/.dev
	$(BIN)/python -m pytest tests/bench --benchmark-enable --benchmark-only $(PYTEST)

# The figures that README and docs quote; about 20 minutes on two cores.
results: .venv/.installed results-codec
	$(BIN)/slfac demo --compare none,fp16,slfac --seed 0,1,2 --out runs/mnist5k \
		--result docs/results/mnist5k.json
	$(BIN)/slfac demo --data $(FASHION) --devices 5 --partition dirichlet:beta=0.5 \
		--batch-size 64 --steps-per-round 188 --rounds 5 --compare none,slfac --seed 0,1,2 \
		--out runs/fashion --result docs/results/fashion-mnist.json

# What crosses two cuts in training, whole batches; nothing else should be running.
BENCH_CODECS := none,fp16,slfac,slfac:theta=0.5,uniform,topk,randtopk,powerquant,easyquant,splitfc,slacc,$(\
	)magnitude,std,slfac-rd:step=0.5,slfac-rd:step=1,slfac-rd:step=3,slfac-rd:step=0.5,coder=dense,$(\
	)slfac-rd:step=1,coder=dense,slfac-rd:step=3,coder=dense
results-codec: .venv/.installed
	rm -rf runs/bench
	$(BIN)/slfac bench codec --capture runs/bench/cnn.npz --data $(FASHION) --cut pool2 \
		--kwargs '{"channels": [16, 32], "pool_after": [2]}'
	$(BIN)/slfac bench codec --capture runs/bench/resnet18.npz --data $(FASHION) --cut layer1 \
		--model resnet18 --kwargs '{"stem": "imagenet"}'
	$(BIN)/slfac bench codec --tensors runs/bench --codec $(BENCH_CODECS) --repeat 7 \
		--json docs/results/codec-bench.json

# Published models: one with pretrained weights, one that exists only as ONNX; some forty minutes.
results-finetune: .venv/.installed
	$(BIN)/slfac experiment finetune --data $(FASHION) --seed 0,1,2 \
		--result docs/results/finetune-efficientnet.json
	$(BIN)/slfac experiment finetune --case text --train 1000 --test 400 --seed 0,1,2 \
		--result docs/results/finetune-text.json

# Every mode of split learning beside torch; some fifteen minutes.
results-modes: .venv/.dev
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m harness.modes --data $(FASHION) $(MODES)

# Energy of phases from simulated power traces; some ten minutes on two cores.
# The page holds the picture once more.
results-profile: .venv/.dev
	for cut in conv1 pool1 conv2 pool2 fc1; do \
		$(BIN)/slfac export --model cnn --cut $$cut --input 1x28x28 --classes 10 \
			--out runs/cuts/$$cut || exit 1; done
	$(BIN)/slfac profile run --bundle runs/cuts/conv1 --bundle runs/cuts/pool1 \
		--bundle runs/cuts/conv2 --bundle runs/cuts/pool2 --bundle runs/cuts/fc1 \
		--data $(FASHION) --least-s 1 --out docs/results/profile-x86.toml
	rm docs/results/profile-x86.html

results-energy: .venv/.dev
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m harness.attribution $(ENERGY)

# The transport beside iperf3; nothing else should be running. Eight minutes, as root.
results-links: .venv/.installed
	$(BIN)/slfac testbed goodput --json docs/results/links.json

# A device's training step beside torch's; nothing else should be running.
results-front: .venv/.installed
	$(BIN)/slfac bench front --repeat 60 --json docs/results/front-bench.json

# Steps in parts over slow links; nothing else should be running.
results-overlap: .venv/.installed
	$(BIN)/slfac bench overlap --json docs/results/overlap.json

# A simulated run beside a real one; nothing else should be running.
results-simulate: .venv/.installed
	$(BIN)/slfac bench simulate --json docs/results/simulate.json

# What is run stands in testbed/plans. Finished runs are reused, so that each can be stopped and
# gone on with. RATE="--jobs 4" passes arguments on.
EXPERIMENT = $(BIN)/slfac experiment rate --data $(FASHION) $(RATE)

results-rate: .venv/.installed
	$(EXPERIMENT) --plan testbed/plans/rate.toml --result docs/results/rate-validation.json

results-rivals: .venv/.installed
	$(EXPERIMENT) --plan testbed/plans/rivals.toml --result docs/results/rate-rivals.json

results-test: .venv/.installed
	$(EXPERIMENT) --plan testbed/plans/test.toml --result docs/results/rate-test.json

results-link: .venv/.installed
	$(EXPERIMENT) --plan testbed/plans/link.toml --result docs/results/rate-link.json

results-ablation: .venv/.installed
	$(EXPERIMENT) --plan testbed/plans/ablation.toml --result docs/results/rate-ablation.json

results-resnet18: .venv/.installed
	$(EXPERIMENT) --plan testbed/plans/resnet18.toml --result docs/results/rate-resnet18.json

# The pages hold every run's settings and drawings; the tables are kept.
results-motion: .venv/.installed
	$(BIN)/slfac experiment run motion --result docs/results/motion.json $(RUN)
	rm docs/results/motion.html

results-paper: .venv/.installed
	$(BIN)/slfac experiment run paper-reduced --result docs/results/paper-reduced.json $(RUN)
	rm docs/results/paper-reduced.html

# As root, for links that lose packets.
results-time: .venv/.installed
	$(BIN)/slfac experiment run links --emulate --jobs 2 --result docs/results/time.json $(RUN)
	rm docs/results/time.html

install: .venv/.dev

.venv/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "slfac needs Python 3.10 or newer; set PYTHON=..."; exit 1; }
	@echo "installing slfac and torch into .venv (a few minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m $(PIP_INSTALL) --upgrade 'pip>=25.1'
	$(BIN)/python -m $(PIP_INSTALL) -e '.[all]'
	@touch $@

.venv/.dev: .venv/.installed
	$(BIN)/python -m $(PIP_INSTALL) --group dev
	@touch $@

# mtools, dosfstools and mmdebstrap for tests of images, sshd for those of hosts: the system's, or
# else unpacked below .venv, which needs no root where apt knows its packages.
.venv/.tools: .venv/.installed
	@for need in mcopy:mtools mkfs.vfat:dosfstools mmdebstrap:mmdebstrap sshd:openssh-server \
		sshd:libwrap0; do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v $${need%%:*} >/dev/null && continue; \
		package=$${need##*:}; mkdir -p .venv/tools; \
		(cd .venv/tools && { apt-get download -qq $$package \
			|| { apt-get update -qq && apt-get download -qq $$package; }; } \
			&& dpkg -x $${package}_*.deb .) \
			|| { echo "some tests need $$package: sudo apt install $$package"; exit 1; }; \
	done
	@touch $@

clean:
	rm -rf .venv .venvs dist build
