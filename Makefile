# Kairos. `make demo` and `make test` do all set-up by themselves; `make help` lists the rest.

SWIFT   ?= swift
# The BPF programs are compiled by the toolchain's own clang: one compiler to install, and one that knows the target.
BINDIR  := $(dir $(realpath $(shell command -v $(SWIFT) 2>/dev/null)))
CLANG   ?= $(firstword $(wildcard $(BINDIR)clang) clang)
OBJCOPY ?= $(firstword $(wildcard $(BINDIR)llvm-objcopy) llvm-objcopy)
ARCH    := $(shell uname -m)
# 'make bpf ARCH=arm64' compiles them for another machine, into a directory of its own; the headers of that one come by Tools/deps.
MACHINE := $(patsubst arm64,aarch64,$(ARCH))
BPFARCH := $(if $(filter x86_64,$(MACHINE)),x86,$(if $(filter aarch64,$(MACHINE)),arm64,unsupported))
FOREIGN := $(filter-out $(shell uname -m),$(MACHINE))
HEADERS := $(if $(FOREIGN),/usr/$(MACHINE)-linux-gnu/include,/usr/include/$(MACHINE)-linux-gnu)
DESTDIR ?=
PREFIX  ?= /usr/local

OBJECTS := $(if $(FOREIGN),.build/bpf-$(BPFARCH),Sources/CBPFObjects/objects)
BPFOBJ  := $(OBJECTS)/kairos.bpf.o $(OBJECTS)/empty.bpf.o
RELEASE := .build/release/kairos

.DEFAULT_GOAL := build
.PHONY: help deps bpf build debug test test-model test-unit test-integration test-random vm test-vm test-kernels test-broken test-arm64 vm-shell test-oracle coverage demo bench bench-trace format lint install uninstall clean

.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what is missing (Debian or Ubuntu, as root)
	@Tools/deps

bpf: $(BPFOBJ) ## compile the BPF programs (ARCH=arm64: for another machine, into .build/bpf-arm64)

.PHONY: foreign-headers
foreign-headers:
	@Tools/deps $(BPFARCH)

$(OBJECTS)/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.[ch]) Makefile | $(if $(FOREIGN),foreign-headers)
	@mkdir -p $(OBJECTS)
	$(CLANG) -target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter \
		-D__TARGET_ARCH_$(BPFARCH) -isystem $(HEADERS) -Ibpf -c $< -o $@
	@$(OBJCOPY) --strip-debug $@

build: deps $(BPFOBJ) ## build the program: .build/release/kairos
	$(SWIFT) build -c release --static-swift-stdlib --product kairos

debug: deps $(BPFOBJ) ## build everything without optimisation
	$(SWIFT) build --build-tests

# In the virtual machines `make test` runs what differs there: the probe sets, the engine, what is seen of every call. The rest
# of the integration suite takes nearly half an hour more under emulation: `make test-vm`.
VM_TESTS := CoverageTests|PruneTests/(thinning|bookmark)|RestoreTests/(lookup|cloned)|RecoveryTests/(history|stamped)|PathTests|RootTests|StillnessTests|OtherWaysTests|SyncTests|ImportTests|LiveLibZFSCoreTests|VolumeTests|/TraceTests/(eachOnce|recording)
# As many guests run at once as there are processors. A test that depends only on the kernel runs in one of them, to balance
# the load; other slow tests run
# in `make test-vm`.
VM_LEAVE_OUT := zfs-2.3=RecoveryTests/stamped|/TraceTests/|OtherWaysTests/(loop|nfs|overlay)|VolumeTests/(rollback|recursive)|ImportTests \
	zfs-2.1=PathTests|RootTests|SyncTests|OtherWaysTests/destroyed
# The guest with the newest OpenZFS runs only what a new kernel may break, the guests without OpenZFS whether each set loads and what
# it shows.
KERNEL_TESTS := KernelTests/(loads|noModule|returns|shows|lockdown)
VM_ONLY := zfs-2.4=KernelTests/(loads|doctor)|CoverageTests linux=$(KERNEL_TESTS)
test: VM_GUESTS = zfs linux-oldest linux-newest
test: export ONLY = $(VM_ONLY)
test: export FILTER = $(VM_TESTS)
test: export LEAVE_OUT = $(VM_LEAVE_OUT)
test: export BRIEF = 1
test: debug test-model test-vm ## run all tests (as root: real BPF, real pools; GUEST=none: no virtual machines)
	$(SWIFT) test --skip-build

test-model: deps ## check the epoch protocol with spin
	@Tests/Model/check

test-unit: debug ## run the tests that need neither root nor ZFS
	$(SWIFT) test --skip-build --skip IntegrationTests

test-integration: debug ## run the tests on a real pool only
	$(SWIFT) test --skip-build --filter IntegrationTests

# `make test` takes fixed seeds, so that it judges a change by the change alone; a seed that ever failed is one of them.
RANDOM_TESTS := HistoryTests|DeletedTests/model|DatasetPolicyPropertyTests|DurationTextTests|IgnoreGlobTests|KeptUntilTests|SimulationTests|ReportTests|VersionLogTests|TimestampTests|RecordTests|RecordingTests|HostileNameTests|SchemaTests|RecoveryTests/history|FailureTests/changesDuringSnapshots
COUNT ?= 20
test-random: debug ## run the tests with random input on COUNT new seeds each (SEED= FILTER=: one of them again)
	@KAIROS_RANDOM=$(COUNT) $(if $(SEED),KAIROS_SEED=$(SEED)) $(SWIFT) test --skip-build --filter '$(or $(FILTER),$(RANDOM_TESTS))' || \
		{ echo "Each failure above names its test and seed. To run one again: make test-random SEED=number FILTER=test."; \
		echo "Add the seed to the fixed ones of the test, in its TestSeeds.of()."; exit 1; }

vm: ## prepare the virtual machines (GUEST=zfs-2.4: one of them; GUEST=linux: those of test-kernels)
	@Tests/VM/prepare $(or $(GUEST),zfs linux-oldest linux-newest)

test-vm: debug ## run the tests on a real pool in them (FILTER=, GUEST=)
	@FILTER='$(FILTER)' Tests/VM/test $(or $(GUEST),$(VM_GUESTS))

# The object that reads a field that no kernel has is to be found out.
test-arm64: ## check the BPF programs for arm64 on Debian's kernel for it, in a virtual machine
	$(MAKE) --no-print-directory bpf ARCH=aarch64
	$(CLANG) -target bpf -mcpu=v3 -g -O2 -D__TARGET_ARCH_arm64 -Di_generation=kairos_is_no_field \
		-isystem /usr/aarch64-linux-gnu/include -Ibpf -c bpf/kairos.bpf.c -o .build/bpf-arm64/wrong.bpf.o
	Tests/Arm64/test .build/bpf-arm64/kairos.bpf.o

test-kernels: debug ## make docs/kernels.md: every probe set on each minor kernel version that Debian has
	@rm -rf .build/kernels && mkdir -p .build/kernels
	COVERAGE=.build/kernels ONLY='linux=$(KERNEL_TESTS)' Tests/VM/test linux
	COVERAGE=.build/kernels $(MAKE) --no-print-directory test-arm64
	Tests/kernels $$(ls .build/kernels/linux-*.tsv | sort -V) .build/kernels/arm64.tsv >.build/kernels/kernels.md
	cp .build/kernels/kernels.md docs/kernels.md

test-broken: debug ## break each program of each set in turn, on the newest kernel (20 minutes)
	ONLY='linux=BrokenProgramTests' Tests/VM/test linux-newest

vm-shell: debug ## a shell in one of them (CMD=: run that instead)
	@Tests/VM/run $(or $(GUEST),zfs-2.3) $(if $(CMD),-- sh -c '$(subst ','\'',$(CMD))')

COVERAGE_TESTS := CoverageTests|VolumeTests|OtherWaysTests|OracleTests/(judgement|tinyRing|killed)
COVERAGE_GUESTS := zfs-2.4 zfs-2.3 zfs-2.1
coverage: debug ## make docs/coverage.md: every operation by every probe set, here and in the virtual machines (an hour)
	@rm -rf .build/coverage && mkdir -p .build/coverage
	KAIROS_COVERAGE=$(CURDIR)/.build/coverage/native.tsv KAIROS_ORACLE="--operations 20000 --pauses 40" \
		$(SWIFT) test --skip-build --filter '$(COVERAGE_TESTS)'
	COVERAGE=.build/coverage ORACLE="--operations 20000 --pauses 40" FILTER='$(COVERAGE_TESTS)' \
		SKIP=NoSuchTest Tests/VM/test $(COVERAGE_GUESTS)
	Tests/coverage zfs-fuse=.build/coverage/native.tsv $(foreach g,$(COVERAGE_GUESTS),$(g)=.build/coverage/$(g).tsv) >.build/coverage/coverage.md
	cp .build/coverage/coverage.md docs/coverage.md

# A seed that is printed can be given: make test-oracle SEED=42 OPERATIONS=500
OPERATIONS ?= 1500
test-oracle: debug ## random operations, judged by reading all snapshots
	KAIROS_ORACLE="--operations $(OPERATIONS) $(if $(SEED),--seed $(SEED)) $(ORACLE)" \
		$(SWIFT) test --skip-build --filter OracleTests/judgement

demo: build ## see it work on a scratch pool
	$(RELEASE) demo

bench: build ## Kairos against cron, live and simulated, and what it costs: a short run, on a page, bench/report.html
	@Tools/deps bench
	@mkdir -p bench
	$(RELEASE) bench all --html bench/report.html

bench-trace: build ## what 'kairos trace' costs beside fatrace, inotifywait and opensnoop, which it installs
	@Tools/deps bench
	$(RELEASE) bench trace

format: ## format Swift sources in place, and C where clang-format is there
	$(SWIFT) format --in-place --recursive --parallel Package.swift Sources Tests
	@! command -v clang-format >/dev/null || clang-format -i bpf/*.[ch] Sources/CLinux/*.c Sources/CLibbpf/*.c Tests/Oracle/*.[ch]

lint: ## check the format
	$(SWIFT) format lint --strict --recursive --parallel Package.swift Sources Tests

install: build ## install the program to $(PREFIX)/sbin
	install -D -m 0755 $(RELEASE) $(DESTDIR)$(PREFIX)/sbin/kairos

uninstall: ## remove what install installed
	rm -f $(DESTDIR)$(PREFIX)/sbin/kairos

clean: ## remove what was built
	rm -rf .build $(OBJECTS)
