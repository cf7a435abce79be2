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

WARN = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion \
       -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef
# No fused multiply-add behind our back: the encoders' bytes depend on it.
BASE = -std=c11 -D_GNU_SOURCE -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden \
       -fopenmp $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer) $(WERROR)
LIBS = -lcrypto -lzstd -lpcre2-8 -lutf8proc -ljansson -lxxhash -lm -lpthread

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
isa_of = $(ISA_$(lastword $(subst _, ,$(basename $(notdir $(1))))))

ifeq ($(ARCH),x86_64)
SIMD = x86
else ifeq ($(ARCH),aarch64)
SIMD = arm
endif
src = $(wildcard $(1)/*.c) $(if $(SIMD),$(wildcard $(1)/$(SIMD)/*.c))
obj = $(patsubst %.c,$(BUILD)/%.o,$(1))

GGUF_OBJ   := $(call obj,$(call src,libgguf))
QUANT_OBJ  := $(call obj,$(call src,quant))
INFER_OBJ  := $(call obj,$(foreach d,model text ops experts session gpu,$(call src,infer/$(d))))
COMMON_OBJ := $(call obj,$(wildcard tools/common/*.c))
TOOLS      := $(basename $(notdir $(wildcard tools/*.c)))
UNITS      := $(basename $(notdir $(wildcard tests/unit/test_*.c)))
FUZZERS    := $(basename $(notdir $(wildcard tests/fuzz/fuzz_*.c)))
ARCHIVES   := $(BUILD)/libinfer.a $(BUILD)/libquant.a $(BUILD)/libgguf.a
SONAME     := libgguf.so.$(SOMAJOR)

.PHONY: all help deps demo samples check check-golden bench lint format fuzz sanitize install \
        uninstall clean tools units
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

all: tools $(BUILD)/libgguf.so ## build the libraries and programs

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24

tools: $(addprefix $(BUILD)/,$(TOOLS))
units: $(addprefix $(BUILD)/tests/,$(UNITS)) $(BUILD)/tests/checkkernels

# ---- Compiling -------------------------------------------------------------
$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(BASE) $(WARN) $(CFLAGS) $(call isa_of,$<) $(if $(filter libgguf/%,$<),-DGGF_BUILD) \
	    -MMD -MP -c -o $@ $<

# A kernel file with no functions for this machine would make ar complain of nothing.
$(BUILD)/libgguf.a: $(GGUF_OBJ)
$(BUILD)/libquant.a: $(QUANT_OBJ)
$(BUILD)/libinfer.a: $(INFER_OBJ)
$(BUILD)/libcommon.a: $(COMMON_OBJ)
$(BUILD)/%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/$(SONAME): $(GGUF_OBJ) libgguf/libgguf.map
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(if $(SAN),-fsanitize=$(SAN),-Wl$(comma)-z$(comma)defs) -Wl,-soname=$(SONAME) \
	    -Wl,--version-script=libgguf/libgguf.map $(LDFLAGS) -o $@ $(GGUF_OBJ) -lcrypto -lzstd -lpthread
$(BUILD)/libgguf.so: $(BUILD)/$(SONAME)
	$(Q)ln -sf $(SONAME) $@
LINK = $(CC) $(BASE) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)

$(addprefix $(BUILD)/,$(TOOLS)): $(BUILD)/%: $(BUILD)/tools/%.o $(BUILD)/libcommon.a $(ARCHIVES)
	$(call say,LD,$@)
	$(Q)$(LINK)

$(addprefix $(BUILD)/tests/,$(UNITS)): $(BUILD)/tests/%: $(BUILD)/tests/unit/%.o $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK) -lcheck -lsubunit -lrt -lm

$(BUILD)/tests/checkkernels: $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/kernels/*.c)) $(BUILD)/libcommon.a $(ARCHIVES)
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(LINK)

# ---- For users: from nothing to text, and all tests ------------------------
PACKAGES = gcc libc6-dev pkg-config zstd libssl-dev libzstd-dev libpcre2-dev libutf8proc-dev \
           libjansson-dev libxxhash-dev
TEST_PACKAGES = check libsubunit-dev bats procps openssl bsdextrautils

deps: ## install the Debian packages needed to build
	@sh tests/deps.sh $(PACKAGES)

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

# The full set of reference logits, from a folder: make check-golden GOLDEN=DIR
check-golden: units
	@test -d "$(GOLDEN)" || { echo "usage: make check-golden GOLDEN=DIR"; exit 2; }
	GOLDEN=$(GOLDEN) $(BUILD)/tests/test_golden

JOBS ?= $(shell nproc 2>/dev/null || echo 2)

clean: ## remove everything built
	rm -rf build

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
