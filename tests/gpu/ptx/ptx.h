/* ptx.h - a machine that runs PTX, the assembly language nvcc writes before a driver or
 * ptxas makes code of it for a device: so tests see what the compiler made of the .cu
 * files, inline assembly included, where there is no device.  ("Parallel Thread Execution
 * ISA" is the source of what instructions do.)
 *
 * A warp's 32 lanes are done together.  Lanes that took different ways go on with those
 * that are behind, until they meet.  Registers, predicates and parameters of functions
 * lie in a frame that each warp has; there is no recursion, so each function has one
 * place there. */
#ifndef TESTS_GPU_PTX_PTX_H
#define TESTS_GPU_PTX_PTX_H

#include "../emulate_parts.h"

#include <memory>
#include <string>

namespace ptx
{

enum : uint32_t { WARP = 32, ALL = 0xffffffffu, NONE = 0xffffffffu };
/* Operands are offsets into the frame, or, with this bit, among the module's constants,
 * which look like registers that hold the same in all lanes. */
enum : uint32_t { CONSTANT = 0x80000000u };

struct warp;
struct instr;
typedef void operation(warp &w, const instr &in, uint32_t lanes);

enum flow : uint8_t {
    PLAIN,
    BRANCH,
    CALL,
    RETURN, /* from a function, or the end of the kernel */
    MEET,   /* all lanes of the warp have to come */
    BARRIER /* all threads of the block */
};

enum space : uint8_t { GENERIC, GLOBAL, SHARED, LOCAL, PARAM, LANE_PARAM };

struct instr {
    operation *run = NULL;
    flow kind = PLAIN;
    /* Memory: which, bytes of an element, how many, is it a signed number */
    space where = GENERIC;
    uint8_t bytes = 0, n = 0;
    bool is_signed = false;
    bool constant = false;   /* a load of what nobody writes */
    bool unless = false;     /* the guard is negated */
    bool base_wide = false;  /* the address is in a register of 64 bits */
    uint16_t wide = 0;       /* bit k: operand k has 64 bits, */
    uint16_t narrow = 0;     /* or 16 */
    uint32_t guard = NONE;   /* a predicate */
    uint32_t o[14] = {};     /* operands, results first */
    uint32_t base = NONE;    /* of an address */
    uint32_t stride = 0;     /* LANE_PARAM: between lanes, from `base` on */
    int64_t add = 0;         /* to an address, or a number that is no operand */
    uint32_t target = 0;     /* where a branch goes */
    uint32_t line = 0;       /* in the source, by file << 20 | line */
    const char *name = NULL; /* of the operation */
};

/* A function's parameter or a call's argument: [WARP][bytes] in the frame. */
struct lane_param {
    uint32_t at, bytes;
};
/* Memory of each thread, and the register that is to have its address. */
struct local_memory {
    uint32_t reg, at, bytes;
};

struct function {
    std::string name;
    uint32_t first = 0, end = 0; /* instructions */
    std::vector<lane_param> params, results;
    uint32_t return_to = 0; /* [WARP] u32 in the frame */
};
struct call {
    uint32_t function;
    std::vector<lane_param> args, results;
};

struct kernel {
    std::string name;
    uint32_t first = 0, end = 0; /* instructions */
    uint32_t frame = 0;          /* bytes */
    uint32_t shared = 0;         /* bytes that are declared */
    struct param {
        uint32_t at, bytes;
    };
    std::vector<param> params;
    uint32_t param_bytes = 0;
    std::vector<local_memory> locals; /* its own, and all functions' */
    std::vector<std::pair<uint32_t, uint32_t>> param_addresses; /* register, offset */
    struct module *of = NULL;
};

/* What an instruction took so far: warps that did it, passes or sectors; report.cpp. */
struct cost {
    uint64_t times = 0, needed = 0, taken = 0;
};

struct module {
    unsigned target = 0;   /* 90: sm_90 */
    uint32_t asked_at = 0; /* in shared memory: what a launch asks for */
    std::vector<instr> code;
    std::unique_ptr<cost[]> costs; /* of each; NULL: nobody asked */
    std::vector<uint8_t> constants;
    std::vector<function> functions;
    std::vector<call> calls;
    std::vector<std::unique_ptr<kernel>> kernels;
    std::vector<std::string> files;
    std::vector<std::unique_ptr<uint8_t[]>> globals;
    std::vector<std::pair<uint8_t *, uint32_t>> global_ranges;
};

/* Registers every warp has: of the place it is at, [WARP] u32 each. */
enum special {
    TID_X,
    TID_Y,
    TID_Z,
    NTID_X,
    NTID_Y,
    NTID_Z,
    CTAID_X,
    CTAID_Y,
    CTAID_Z,
    NCTAID_X,
    NCTAID_Y,
    NCTAID_Z,
    LANEID,
    SPECIALS
};

std::unique_ptr<module> parse(const char *text);

/* What is known of an operation: its operands, results first, braces taken away:
 * w 32 bits, h 16, d 64, x any width, p predicate, q "register|predicate" (two),
 * m an address, A a register in brackets, i a number (instr.add), L a label. */
struct op_kind {
    const char *operands;
    flow kind;
    operation *run;
};
/* Loads, stores and conversions are put together from the parts of their name.  NULL:
 * nobody knows it. */
const op_kind *find_operation(const std::string &name, instr &in);

struct block;

struct warp {
    block *of;
    uint8_t *frame;
    const uint8_t *constants;
    uint32_t number;        /* in the block */
    uint32_t alive, parked; /* lanes; parked ones wait for the others */
    uint32_t pc[WARP];
    uint32_t waited; /* lanes that have waited for what is before the kernel */
    uint32_t syncs;  /* how often its lanes have met */
    bool at_barrier;
    struct async {
        uint32_t lane, to, bytes;
        const uint8_t *from;
        uint32_t group;
    };
    std::vector<async> copies;
    uint32_t group[WARP];

    uint8_t *at(uint32_t o) const
    {
        return o & CONSTANT ? (uint8_t *)constants + (o & ~CONSTANT) : frame + o;
    }
    uint32_t *words(uint32_t o) const { return (uint32_t *)at(o); }
    uint64_t *longs(uint32_t o) const { return (uint64_t *)at(o); }
    /* What a register of any width holds, lane by lane. */
    uint64_t value(const instr &in, uint32_t operand, uint32_t lane) const
    {
        return in.wide >> operand & 1 ? longs(in.o[operand])[lane]
                                      : words(in.o[operand])[lane];
    }
    void set(const instr &in, uint32_t operand, uint32_t lane, uint64_t v) const
    {
        if (in.wide >> operand & 1) longs(in.o[operand])[lane] = v;
        else if (in.narrow >> operand & 1) words(in.o[operand])[lane] = (uint16_t)v;
        else words(in.o[operand])[lane] = (uint32_t)v;
    }
    [[noreturn]] void fail(const instr &in, const char *format, ...) const;
};

struct block {
    const kernel *k;
    const uint8_t *params;
    uint8_t *shared;
    uint32_t shared_bytes;
    std::vector<warp> warps;
    uint32_t barriers;     /* that all threads have passed, and blocks before this one */
    bool early;            /* it began before the one before it had ended */
    struct shadow *shadow; /* of shared memory; NULL: races are not looked for */
    bool ordered;          /* races in the device's memory are */
};

/* Have costs of the module counted, and reported at the end, if that is wanted. */
void report_on(module &m);

/* Run one block. */
void run(const kernel &k, const uint8_t *params, size_t asked, const emu_place &place);

/* For each lane i of a set. */
#define FOR_LANES(i, lanes)                                                              \
    for (uint32_t i = 0; i < WARP; i++)                                                  \
        if ((lanes) >> i & 1)

} // namespace ptx

#endif
