# q3n - GGUF tools and an inference engine for mixture-of-experts models.
#
#   make help      what can be made
#   V=1            show the commands
#   CC=clang       another compiler
#   SAN=address,undefined   with sanitizers, in a build folder of its own

PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
BUILD   ?= build$(if $(SAN),/san)
CFLAGS  ?= -O2 -g

VERSION := $(shell sed -n 's/^.define GGF_VERSION_[MP][AIJT][A-Z]* //p' libgguf/libgguf.h | paste -sd.)
SOMAJOR := 0
# The compiler's target, or this machine's while there is no compiler yet (make deps).
ARCH    := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null || uname -m)))
# The archiver of the same target, unless one is named, and its fellows.
program  = $(or $(shell $(CC) -print-prog-name=$(1) 2>/dev/null),$(1))
ifeq ($(origin AR),default)
AR      := $(call program,ar)
endif
NM      ?= $(call program,nm)
OBJCOPY ?= $(call program,objcopy)

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion \
       -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef
# No fused multiply-add behind our back: the encoders' bytes depend on it.
BASE = -std=c11 -D_GNU_SOURCE -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden \
       -fopenmp $(WERROR) \
       $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
LIBS = -lcrypto -lzstd -lpcre2-8 -lutf8proc -ljansson -lmicrohttpd -lxxhash -lm -lpthread

comma := ,
Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))

# ---- Sources ---------------------------------------------------------------
# A file's name says which instruction set it is compiled for; nothing else gets -m.
ISA_avx2   = -mavx2 -mfma -mf16c -mbmi2
ISA_avx512 = $(ISA_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
ISA_vbmi   = $(ISA_avx512) -mavx512vbmi
ISA_bf16   = $(ISA_vbmi) -mavx512bf16
ISA_neon   =
ISA_dotprod = -march=armv8.2-a+dotprod
# KERNEL_FLAGS: for those files alone.
isa = $(ISA_$(lastword $(subst _, ,$(basename $(notdir $(1))))))
isa_of = $(call isa,$(1)) $(if $(call isa,$(1)),$(KERNEL_FLAGS))

ifeq ($(ARCH),x86_64)
SIMD = x86
else ifeq ($(ARCH),aarch64)
SIMD = arm
endif
src = $(wildcard $(1)/*.c) $(if $(SIMD),$(wildcard $(1)/$(SIMD)/*.c))
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

# CUDA=1: the .cu files of infer/gpu by nvcc, which is the default where there is one for
# this machine that works; 0: none.c in their place.
NVCC ?= $(or $(shell command -v nvcc 2>/dev/null),$(wildcard /usr/local/cuda/bin/nvcc))
NATIVE := $(filter $(shell uname -m),$(ARCH))
ifneq ($(and $(NVCC),$(NATIVE),$(filter-out 0,$(or $(CUDA),$(if $(SAN),0,1)))),)
ASK_NVCC  := sh tests/nvcc.sh $(NVCC) $(BUILD) $(NVCC_FLAGS)
NVCC_SAYS := $(shell $(ASK_NVCC))
endif
NO_NVCC := $(if $(filter no,$(firstword $(NVCC_SAYS))),$(wordlist 2,99,$(NVCC_SAYS)))
SKIPPED = skipped: $(or $(NO_NVCC),there is no nvcc for this machine)
CUDA ?= $(if $(filter yes,$(firstword $(NVCC_SAYS))),1,0)
CU   := $(wildcard infer/gpu/*.cu)

GGUF_OBJ   := $(call obj,$(call src,libgguf))
QUANT_OBJ  := $(call obj,$(call src,quant))
INFER_OBJ  := $(call obj,$(foreach d,model text text/jinja ops experts session serve gpu,$(call src,infer/$(d))))
ifeq ($(CUDA),1)
INFER_OBJ  := $(filter-out $(BUILD)/infer/gpu/none.o,$(INFER_OBJ)) $(CU:%.cu=$(BUILD)/%.o)
endif
COMMON_OBJ := $(call obj,$(wildcard tools/common/*.c))
TOOLS      := $(basename $(notdir $(wildcard tools/*.c)))
UNITS      := $(basename $(notdir $(wildcard tests/unit/test_*.c)))
GPU_UNITS  := $(basename $(notdir $(wildcard tests/gpu/test_*.c)))
PTX_UNITS  := $(GPU_UNITS:test_gpu_%=test_ptx_%)
EMULATED_TOOLS := q3n-run q3n-bench
FUZZERS    := $(basename $(notdir $(wildcard tests/fuzz/fuzz_*.c)))
ARCHIVES   := $(BUILD)/libinfer.a $(BUILD)/libquant.a $(BUILD)/libgguf.a
SONAME     := libgguf.so.$(SOMAJOR)

.PHONY: all no-nvcc help deps demo samples check check-gpu gpu-units check-ptx ptx-units check-golden check-aarch64 check-cpus check-openai check-load bench bench-quant bench-store bench-gpu count-gpu \
        bench-kld bench-turn lint format fuzz sanitize install uninstall clean tools units fuzzers compile_commands.json
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

all: tools $(BUILD)/libgguf.so ## build the libraries and programs

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

tools: $(if $(NO_NVCC),no-nvcc) $(addprefix $(BUILD)/,$(TOOLS))
units: $(addprefix $(BUILD)/tests/,$(UNITS) $(if $(NATIVE),$(GPU_UNITS) $(addprefix emulated/,$(EMULATED_TOOLS))) $(if $(filter 1,$(CUDA)),test_ptx $(PTX_UNITS))) $(addprefix $(BUILD)/tests/test_,$(FUZZERS)) \
       $(BUILD)/tests/checkkernels

# ---- Compiling -------------------------------------------------------------
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) $(call isa_of,$<) $(if $(filter libgguf/%,$<),-DGGF_BUILD) \
	    -MMD -MP -c -o $@ $<
$(BUILD)/infer/serve/page.o: infer/serve/page.html # .incbin is no #include

# ---- CUDA ------------------------------------------------------------------
# Code for every kind of device in CUDA_ARCH that this nvcc knows, and PTX for those that
# are not among them: of 90, which those between it and the last one take too, or of the
# last.  What nvcc adds to our sources is not pedantic; it has statics in functions, which
# nobody calls (they are for <<<>>>) and which would need the C++ library.
CUDA_ARCH ?= 75 80 86 89 90 120
ifeq ($(CUDA),1)
CUDA_CODE := $(filter $(patsubst sm_%,%,$(filter sm_%,$(NVCC_SAYS))),$(CUDA_ARCH))
CUDA_INC  := $(patsubst -I%,-isystem %,$(filter -I%,$(NVCC_SAYS)))
CUDA_HOST := $(filter -ccbin=%,$(NVCC_SAYS))
NVFLAGS = $(CUDA_HOST) -std=c++17 -O3 -D_GNU_SOURCE -Xcompiler -fPIC$(comma)-fvisibility=hidden$(comma)-fno-exceptions$(comma)-fno-threadsafe-statics$(comma)-Wall$(comma)-Wextra \
          $(foreach a,$(CUDA_CODE),-gencode arch=compute_$(a)$(comma)code=sm_$(a)) \
          $(foreach a,$(or $(filter 90,$(CUDA_CODE)),$(lastword $(CUDA_CODE))),-gencode arch=compute_$(a)$(comma)code=compute_$(a))
LIBS += $(filter -L%,$(NVCC_SAYS)) -lcudart_static -ldl -lrt

$(BUILD)/%.o: %.cu $(wildcard $(BUILD)/nvcc)
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVFLAGS) $(NVCC_FLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
endif

# What was compiled by another is compiled anew.
$(BUILD)/nvcc:
	@$(ASK_NVCC) >/dev/null
no-nvcc:
	@echo "  NOTE   $(if $(filter 0,$(CUDA)),no CUDA (CUDA=0 does not ask): )$(NVCC): $(NO_NVCC)"

# The same files for a device that tests/gpu/emulate.cpp makes of the CPU.
ifeq ($(origin CXX),default)
CXX := $(or $(if $(findstring clang,$(CC)),$(subst clang,clang++,$(CC))),$(if $(findstring gcc,$(CC)),$(subst gcc,g++,$(CC))),g++)
endif
EMULATED_OBJ := $(CU:infer/gpu/%.cu=$(BUILD)/tests/gpu/emulated/%.o) $(patsubst %.cpp,$(BUILD)/%.o,$(wildcard tests/gpu/emulate*.cpp))
GPU_TEST_OBJ := $(BUILD)/tests/gpu/random.o $(BUILD)/tests/kernels/blocks.o
CXXBASE = -std=c++17 -D_GNU_SOURCE -ffp-contract=off -fno-math-errno -fPIC -Wall -Wextra -Wno-unknown-pragmas -Wno-parentheses \
          $(WERROR) $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)

$(BUILD)/tests/gpu/emulated/%.o: infer/gpu/%.cu
	@mkdir -p $(@D)
	$(call say,EMU,$<)
	$(Q)$(CXX) $(CXXBASE) $(CFLAGS) -include tests/gpu/emulate.h -MMD -MP -c -o $@ -x c++ $<
$(BUILD)/tests/gpu/%.o: tests/gpu/%.cpp
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CXXBASE) $(CFLAGS) -MMD -MP -c -o $@ $<

# The same as nvcc compiles them, PTX and all, for a machine of tests/gpu/ptx that runs PTX.
PTX_ARCH  ?= 75 90
PTX_OBJ   := $(CU:%.cu=$(BUILD)/ptx/%.o) $(patsubst tests/%.cpp,$(BUILD)/ptx/%.o,$(filter-out %/check.cpp,$(wildcard tests/gpu/ptx/*.cpp)) tests/gpu/emulate.cpp)
PTX_FLAGS = $(CUDA_HOST) -std=c++17 -O3 -D_GNU_SOURCE -lineinfo --no-compress $(foreach a,$(PTX_ARCH),-gencode arch=compute_$(a)$(comma)code=compute_$(a))

$(BUILD)/ptx/infer/gpu/%.o: infer/gpu/%.cu $(wildcard $(BUILD)/nvcc)
	@mkdir -p $(@D)
	$(call say,PTX,$<)
	$(Q)$(NVCC) $(PTX_FLAGS) $(NVCC_FLAGS) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$(BUILD)/ptx/gpu/%.o: tests/gpu/%.cpp
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CXXBASE) $(CFLAGS) -O3 -march=native -fno-strict-aliasing -DPTX_DEVICE $(CUDA_INC) -MMD -MP -c -o $@ $<

# A kernel file with no functions for this machine would make ar complain of nothing.
$(BUILD)/libgguf.a: $(GGUF_OBJ)
$(BUILD)/libquant.a: $(QUANT_OBJ)
$(BUILD)/libinfer.a: $(INFER_OBJ) $(BUILD)/cuda.$(CUDA)
$(BUILD)/libcommon.a: $(COMMON_OBJ)
$(BUILD)/%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $(filter %.o,$^)

# With CUDA or without: what it was made of before is not what it is made of now.
$(BUILD)/cuda.$(CUDA):
	@mkdir -p $(@D)
	@rm -f $(BUILD)/cuda.* && touch $@

$(BUILD)/$(SONAME): $(GGUF_OBJ) libgguf/libgguf.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(if $(SAN),-fsanitize=$(SAN),-Wl$(comma)-z$(comma)defs) -Wl,-soname=$(SONAME) \
	    -Wl,--version-script=libgguf/libgguf.map $(LDFLAGS) -o $@ $(GGUF_OBJ) -lcrypto -lzstd -lpthread
$(BUILD)/libgguf.so: $(BUILD)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@
LINK = $(CC) $(BASE) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

$(BUILD)/q3n-run: LIBS += -ledit
$(addprefix $(BUILD)/,$(TOOLS)): $(BUILD)/%: $(BUILD)/tools/%.o $(BUILD)/libcommon.a $(ARCHIVES)
	$(call say,LD,$@)
	$(Q)$(LINK)

$(addprefix $(BUILD)/tests/,$(UNITS)): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -lcheck -lsubunit -lrt -lm

$(addprefix $(BUILD)/tests/,$(GPU_UNITS)): $(BUILD)/tests/%: $(BUILD)/tests/gpu/%.o $(GPU_TEST_OBJ) \
    $(EMULATED_OBJ) $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -lcheck -lsubunit -lrt -lm -lstdc++

# Programs that find such a device.
$(addprefix $(BUILD)/tests/emulated/,$(EMULATED_TOOLS)): $(BUILD)/tests/emulated/%: $(BUILD)/tools/%.o $(EMULATED_OBJ) \
    $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -ledit -lstdc++

$(addprefix $(BUILD)/gpu/tests/,$(GPU_UNITS)): $(BUILD)/gpu/tests/%: $(BUILD)/tests/gpu/%.o $(GPU_TEST_OBJ) \
    $(BUILD)/tests/gpu/no_emulator.o $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -lcheck -lsubunit -lrt -lm

$(PTX_UNITS:%=$(BUILD)/tests/%): $(BUILD)/tests/test_ptx_%: $(BUILD)/tests/gpu/test_gpu_%.o $(GPU_TEST_OBJ) \
    $(PTX_OBJ) $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -lcheck -lsubunit -lrt -lm -lstdc++

$(BUILD)/tests/test_ptx: $(BUILD)/ptx/gpu/ptx/check.o $(filter-out $(CU:%.cu=$(BUILD)/ptx/%.o),$(PTX_OBJ)) $(BUILD)/libquant.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -lcheck -lsubunit -lrt -lm -lstdc++

$(BUILD)/ptx/q3n-bench: $(BUILD)/tools/q3n-bench.o $(PTX_OBJ) $(BUILD)/libcommon.a $(ARCHIVES)
	$(call say,LD,$@)
	$(Q)$(LINK) -lstdc++

ptx-units: $(addprefix $(BUILD)/tests/,test_ptx $(PTX_UNITS))

gpu-units: $(addprefix $(BUILD)/gpu/tests/,$(GPU_UNITS))

$(BUILD)/tests/checkkernels: $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/kernels/*.c)) $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK)

# ---- For users: from nothing to text, and all tests ------------------------
PACKAGES = gcc libc6-dev pkg-config zstd libssl-dev libzstd-dev libpcre2-dev libutf8proc-dev \
           libjansson-dev libmicrohttpd-dev libxxhash-dev libedit-dev
TEST_PACKAGES = g++ python3 curl jq check libsubunit-dev bats procps openssl bsdextrautils

# What an nvcc that does not work lacks most often is g++.
deps: ## install the Debian packages needed to build
	@sh tests/deps.sh $(PACKAGES) $(if $(NO_NVCC),g++)

# The rest of make starts anew after the packages are there.
demo: deps ## build, then inspect, quantize, pack and run the sample model
	@$(MAKE) --no-print-directory -j$(JOBS) tools samples
	@samples/demo.sh $(BUILD)

samples: $(BUILD)/samples/q3n-mini-bf16.gguf ## unpack the sample model

$(BUILD)/samples/%.gguf: samples/%.gguf.zst
	@mkdir -p $(@D)
	$(call say,UNZSTD,$@)
	$(Q)zstd -q -d -f $< -o $@

check: deps ## build and run all tests
	@sh tests/deps.sh $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory -j$(JOBS) all units samples
	@tests/run.sh $(BUILD)

check-gpu: ## run the tests of the device code on the device of this machine (needs nvcc)
ifeq ($(CUDA),1)
	@$(MAKE) --no-print-directory -j$(JOBS) gpu-units
	@tests/run.sh $(BUILD)/gpu $(GPU_UNITS)
else
	@echo "$(SKIPPED)"
endif

check-ptx: ## run them on a machine that executes the PTX nvcc writes (needs nvcc)
ifeq ($(CUDA),1)
	@$(MAKE) --no-print-directory -j$(JOBS) ptx-units
	@for device in $(PTX_ARCH); do \
	    echo "compute capability $$device:"; \
	    PTX_DEVICE=$$device tests/run.sh $(BUILD) $(PTX_UNITS) || exit 1; \
	done
else
	@echo "$(SKIPPED)"
endif

# The full set of reference logits, from a folder: make check-golden GOLDEN=DIR
check-golden: units
	@test -d "$(GOLDEN)" || { echo "usage: make check-golden GOLDEN=DIR"; exit 2; }
	GOLDEN=$(GOLDEN) $(BUILD)/tests/test_golden

# Not part of check: it wants a cross compiler, and takes minutes.
ARM64_PACKAGES = libc6-dev libgomp1 $(filter lib%,$(PACKAGES)) check libsubunit-dev

check-aarch64: ## cross-compile for aarch64, test its kernels under qemu
	@JOBS=$(JOBS) tests/aarch64.sh build/aarch64 $(sort $(ARM64_PACKAGES))

check-cpus: deps ## run the kernels on models of older processors, under qemu
	@sh tests/deps.sh $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory -j$(JOBS) tools units samples
	@tests/cpus.sh $(BUILD)

bench: tools ## measure speed against what memory, openssl and cp do (LAYERS=2: smaller)
	@sh tests/deps.sh openssl
	@tests/bench.sh $(BUILD)

bench-quant: tools $(BUILD)/tests/checkkernels ## measure gguf-quant (LLAMA_QUANTIZE=PROGRAM: against that)
	@sh tests/deps.sh python3
	@tests/bench-quant.sh $(BUILD) $(TYPES)

bench-store: tools ## measure decoding in too little memory (LLAMA_BENCH=PROGRAM: against that)
	@sh tests/deps.sh python3
	@tests/bench-store.sh $(BUILD)

bench-gpu: tools samples ## measure speed on a CUDA device (MODEL=FILE, LLAMA_BENCH=PROGRAM: against that)
	@sh tests/deps.sh python3
	@tests/bench-gpu.sh $(BUILD)

count-gpu: tools ## count what the device code does, and what cards need for it at least (needs nvcc)
ifeq ($(CUDA),1)
	@sh tests/deps.sh python3
	@$(MAKE) --no-print-directory -j$(JOBS) $(BUILD)/ptx/q3n-bench
	@tests/count-gpu.sh $(BUILD)
else
	@echo "$(SKIPPED)"
endif

bench-kld: tools samples ## measure the quality of mixes on the sample, and predictions of it
	@sh tests/deps.sh python3
	@tests/bench-kld.sh $(BUILD)

bench-turn: tools samples ## measure a second turn of a long conversation (MODEL=FILE, TOKENS=16384)
	@sh tests/deps.sh python3
	@MODEL=$(abspath $(MODEL)) tests/serve/run.sh $(BUILD) turn $(TOKENS)

check-openai: tools samples ## test q3n-serve with OpenAI's Python client, if python3 has it
	@tests/serve/run.sh $(BUILD) openai

check-load: tools samples ## 64 clients of q3n-serve for TIME seconds: same texts, same memory
	@tests/serve/run.sh $(BUILD) load $(TIME)

JOBS ?= $(shell nproc 2>/dev/null || echo 2)

# ---- Fuzzing ---------------------------------------------------------------
# A fuzz target is built twice: with libFuzzer behind it, and as a test that replays its
# corpus and every crash ever found (tests/fuzz/replay.c).  Vector kernels stay without
# coverage and UBSan: clang takes many minutes to build one file of them with all that.
TIME ?= 60
FUZZ ?= $(patsubst fuzz_%,%,$(FUZZERS))
FUZZ_PACKAGES = clang libclang-rt-14-dev libomp-dev

fuzz: ## fuzz each target for TIME seconds (FUZZ="gguf pack": only these)
	@sh tests/deps.sh $(PACKAGES) $(FUZZ_PACKAGES)
	@$(MAKE) --no-print-directory -j$(JOBS) CC=clang CFLAGS="-O1 -g" BUILD=build/fuzz \
	    SAN=fuzzer-no-link,address,undefined \
	    KERNEL_FLAGS=-fno-sanitize=undefined,fuzzer-no-link fuzzers
	@tests/fuzz/run.sh build/fuzz $(TIME) $(FUZZ)

fuzzers: $(addprefix $(BUILD)/,$(FUZZERS))

$(addprefix $(BUILD)/,$(FUZZERS)): $(BUILD)/%: $(BUILD)/tests/fuzz/%.o $(BUILD)/libcommon.a $(ARCHIVES)
	$(call say,LD,$@)
	$(Q)$(LINK) -fsanitize=fuzzer

$(addprefix $(BUILD)/tests/test_,$(FUZZERS)): $(BUILD)/tests/test_%: $(BUILD)/tests/fuzz/%.o \
    $(BUILD)/tests/fuzz/replay.o $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK)

sanitize: deps ## run all tests with the address and undefined behaviour sanitizers
	@sh tests/deps.sh $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory -j$(JOBS) SAN=address,undefined CFLAGS="-O1 -g" all units samples
	@tests/run.sh build/san

# ---- Style -----------------------------------------------------------------
LINT_PACKAGES = clang-format clang-tidy cppcheck shellcheck
SOURCES := $(sort $(shell find libgguf quant infer tools tests samples -name '*.[ch]'))
CXX_SOURCES := $(sort $(shell find infer tests -name '*.cu' -o -name '*.cuh' -o -name '*.cpp'))
SCRIPTS := $(sort $(shell find tests samples .ci -name '*.sh' -o -name '*.bats' -o -path .ci/run))
# Sources for another machine's instructions cannot be parsed here.
FOREIGN := $(if $(filter x86_64,$(ARCH)),$(shell find . -path '*/arm/*.c' -printf '%P '),\
             $(shell find . -path '*/x86/*.c' -printf '%P '))
TIDY    := $(filter-out $(FOREIGN),$(filter %.c,$(SOURCES)))

lint: ## check format and style: clang-format, clang-tidy, cppcheck, shellcheck
	@sh tests/deps.sh $(PACKAGES) $(TEST_PACKAGES) $(LINT_PACKAGES)
	@clang-format --dry-run -Werror $(SOURCES) $(CXX_SOURCES)
	@tests/lint/size.sh $(SOURCES) $(CXX_SOURCES)
	@shellcheck -x -S warning $(SCRIPTS)
	@cppcheck --quiet --error-exitcode=1 --std=c11 --language=c --inline-suppr -j$(JOBS) \
	    --enable=warning,performance,portability --suppressions-list=.cppcheck \
	    -D__x86_64__ -D__SIZEOF_SIZE_T__=8 -D__BYTE_ORDER__=1234 -D__ORDER_LITTLE_ENDIAN__=1234 $(TIDY)
	@$(MAKE) --no-print-directory -j$(JOBS) $(TIDY:%.c=build/lint/%.tidy)
	@echo "lint: clean"

# What passed is looked at again only after it, its headers or the rules changed.
build/lint/%.tidy: %.c .clang-tidy tests/lint/analyzer.h
	@mkdir -p $(@D)
	$(call say,TIDY,$<)
	$(Q)$(CC) $(BASE) -Ilibgguf $(call isa_of,$<) -MM -MP -MT $@ -MF $(@:.tidy=.d) $<
	$(Q)clang-tidy --quiet $< -- $(BASE) -Ilibgguf $(call isa_of,$<) \
	    $(if $(filter %/error.c,$<),,-include tests/lint/analyzer.h) >$@.log 2>&1 || { cat $@.log; exit 1; }
	@touch $@

format: ## rewrite the sources as clang-format has them
	clang-format -i $(SOURCES) $(CXX_SOURCES)

compile_commands.json: ## for editors and language servers (bear)
	@sh tests/deps.sh bear
	bear -- $(MAKE) -B -j$(JOBS) all units

# ---- Installing ------------------------------------------------------------
bindir = $(DESTDIR)$(PREFIX)/bin
libdir = $(DESTDIR)$(PREFIX)/lib
incdir = $(DESTDIR)$(PREFIX)/include
docdir = $(DESTDIR)$(PREFIX)/share/doc/q3n
DOCS   = $(wildcard README.md LICENSE docs/*.md)

# Names that the library's files share among themselves would clash with names of a program
# that is linked to it.
$(BUILD)/static/libgguf.a: $(BUILD)/libgguf.a
	@mkdir -p $(@D)
	$(call say,OBJCOPY,$@)
	$(Q)$(NM) -gP --defined-only $< | awk 'NF > 1 && !/^ggf_/ { print $$1, "ggf_own_" $$1 }' >$(@D)/names
	$(Q)$(OBJCOPY) --redefine-syms=$(@D)/names $< $@

install: all $(BUILD)/static/libgguf.a ## install programs, library, header, documents (PREFIX=, DESTDIR=)
	$(if $(filter /%,$(PREFIX)),,$(error PREFIX=$(PREFIX) does not start with /))
	@install -d -m 755 $(bindir) $(libdir) $(libdir)/pkgconfig $(incdir) $(docdir)
	install -m 755 $(addprefix $(BUILD)/,$(TOOLS)) $(bindir)
	install -m 755 $(BUILD)/$(SONAME) $(libdir)/libgguf.so.$(VERSION)
	ln -sf libgguf.so.$(VERSION) $(libdir)/$(SONAME)
	ln -sf $(SONAME) $(libdir)/libgguf.so
	install -m 644 $(BUILD)/static/libgguf.a $(libdir)
	install -m 644 libgguf/libgguf.h libgguf/libgguf_pack.h $(incdir)
	sed 's|@PREFIX@|$(PREFIX)|; s|@VERSION@|$(VERSION)|' libgguf/libgguf.pc.in \
	    >$(BUILD)/libgguf.pc
	install -m 644 $(BUILD)/libgguf.pc $(libdir)/pkgconfig
	install -m 644 $(DOCS) $(docdir)

uninstall: ## remove what install put there
	rm -f $(addprefix $(bindir)/,$(TOOLS))
	rm -f $(addprefix $(libdir)/,libgguf.so.$(VERSION) $(SONAME) libgguf.so libgguf.a \
	    pkgconfig/libgguf.pc)
	rm -f $(incdir)/libgguf.h $(incdir)/libgguf_pack.h $(addprefix $(docdir)/,$(notdir $(DOCS)))
	@rmdir $(docdir) $(libdir)/pkgconfig 2>/dev/null || true

clean: ## remove everything built
	rm -rf build

-include $(shell find $(BUILD) -type f -name '*.d' 2>/dev/null)
