/* emulate_block.cpp - a block of threads of the emulated device.
 *
 * Threads are fibers that run in a random order, each until it waits for its block or
 * warp; a barrier that is missing shows as a wrong result under some seed, one that some
 * thread does not come to ends the program with a message.
 *
 * Memory nobody has written reads as NaN and -1: shared memory of each block, the target
 * of a copy that was not waited for.  With AddressSanitizer, whoever leaves a shared
 * array is caught. */
#include "emulate_parts.h"
#include "fiber.h"

/* Stacks are no power of two apart, or all would want the same few lines of the caches.
 */
enum { WARP_LANES = 32, MAX_THREADS = 1024, STACK_BYTES = (256 << 10) + 17 * 64 };

/* ---- A block ------------------------------------------------------------------------
 */

enum waiting { READY, AT_BLOCK, AT_WARP, ENDED };

struct copy {
    void *to;
    const void *from;
    size_t bytes;
    unsigned group;
};
struct thread {
    fiber_context context;
    emu_place place;
    waiting waits;
    const char *what; /* at which call of its warp */
    void (*act)(void *const args[32]);
    void *arg;
    std::vector<copy> copies;
    unsigned group; /* of copies, that is open */
};
struct shared_array {
    const char *file;
    int line;
    size_t bytes;
    char *p;
};

emu_place *emu_here;

static struct {
    const char *what; /* the kernel */
    std::function<void()> *kernel;
    std::vector<thread> threads = std::vector<thread>(MAX_THREADS);
    size_t n, ended, at_block;
    size_t at_warp[MAX_THREADS / WARP_LANES];
    thread *running;
    fiber_context scheduler;
    char *stacks = NULL;
    std::vector<shared_array> arrays;
    char *asked; /* SHARED_BYTES */
    size_t asked_bytes;
} block;

static void yield(waiting waits)
{
    thread *me = block.running;
    me->waits = waits;
    fiber_switch(&me->context, &block.scheduler, waits == ENDED);
}

static void thread_main()
{
    fiber_arrived(&block.scheduler);
    (*block.kernel)();
    if (!emu_here->waited)
        die("%s: a thread has not waited for what comes before", block.what);
    yield(ENDED);
    die("%s: a thread goes on after its end", block.what);
}

void emu_block_sync() { yield(AT_BLOCK); }

void emu_read(const void *p, size_t bytes) { emu_read_put(block.what, p, bytes); }

void emu_after_previous()
{
    if (emu_here->waited)
        die("%s: a thread waits twice for what comes before", block.what);
    emu_here->waited = true;
}

void emu_warp(const char *what, void (*act)(void *const args[32]), void *arg)
{
    thread *me = block.running;
    me->what = what;
    me->act = act;
    me->arg = arg;
    yield(AT_WARP);
}

/* All lanes have come. */
static void meet_warp(size_t warp)
{
    thread *lanes = &block.threads[warp * WARP_LANES];
    void *args[WARP_LANES];
    for (int i = 0; i < WARP_LANES; i++) {
        if (lanes[i].act != lanes[0].act)
            die("%s: lane 0 of a warp is at a %s, lane %d at a %s", block.what,
                lanes[0].what, i, lanes[i].what);
        args[i] = lanes[i].arg;
        lanes[i].waits = READY;
    }
    block.at_warp[warp] = 0;
    if (lanes[0].act) lanes[0].act(args);
}

static void run_thread(size_t i)
{
    thread *t = &block.threads[i];
    block.running = t;
    emu_here = &t->place;
    fiber_switch(&block.scheduler, &t->context, false);
    if (t->waits == AT_WARP && ++block.at_warp[i / WARP_LANES] == WARP_LANES)
        meet_warp(i / WARP_LANES);
    if (t->waits == AT_BLOCK) block.at_block++;
    if (t->waits == ENDED) block.ended++;
    if (block.at_block && block.at_block + block.ended == block.n) {
        for (size_t j = 0; j < block.n; j++)
            if (block.threads[j].waits == AT_BLOCK) block.threads[j].waits = READY;
        block.at_block = 0;
    }
}

static void prepare_block(const emu_place &place)
{
    block.n = (size_t)place.threads.x * place.threads.y * place.threads.z;
    if (!block.n || block.n > MAX_THREADS || block.n % WARP_LANES)
        die("%s: blocks of %zu threads, not of whole warps up to %d", block.what, block.n,
            MAX_THREADS);
    if (!block.stacks) {
        block.stacks =
            (char *)mmap(NULL, (size_t)MAX_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (block.stacks == MAP_FAILED) die("no memory for stacks");
    }
    block.ended = block.at_block = 0;
    for (size_t i = 0; i < block.n; i++) {
        thread *t = &block.threads[i];
        const unsigned x = place.threads.x, y = place.threads.y;
        t->place = place;
        t->place.thread = { (unsigned)i % x, (unsigned)i / x % y, (unsigned)i / x / y };
        t->waits = READY;
        t->group = 0;
        t->copies.clear();
        block.at_warp[i / WARP_LANES] = 0;
        fiber_prepare(&t->context, block.stacks + i * STACK_BYTES, STACK_BYTES,
                      thread_main);
    }
}

/* `shared`: bytes of it that the launch asked for.  Returns what the kernel declares. */
static size_t run_block(const char *what, std::function<void()> &kernel, size_t shared,
                        const emu_place &place)
{
    std::vector<size_t> order;
    block.what = what;
    block.kernel = &kernel;
    block.asked_bytes = shared;
    prepare_block(place);
    for (size_t i = 0; i < block.n; i++) order.push_back(i);
    shuffle(order);
    while (block.ended < block.n) {
        bool any = false;
        for (size_t i : order)
            if (block.threads[i].waits == READY) {
                run_thread(i);
                any = true;
            }
        if (!any) {
            size_t at = 0;
            while (block.threads[at].waits == ENDED || block.threads[at].waits == READY)
                at++;
            die("%s: thread %zu waits for ever, at a %s", block.what, at,
                block.threads[at].waits == AT_BLOCK ? "barrier" : block.threads[at].what);
        }
    }
    size_t own = 0;
    for (const shared_array &a : block.arrays) {
        own += a.bytes;
        free(a.p);
    }
    block.arrays.clear();
    free(block.asked);
    block.asked = NULL;
    return own;
}

/* Shared memory that kernels may ask for. */
static std::map<const void *, size_t> allowed;

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute, int value)
{
    allowed[kernel] = (size_t)value;
    return emu_result(cudaSuccess);
}

/* There is code for 7.5 up to 9.0. */
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *)
{
    a->ptxVersion = emu_capability();
    return emu_result(a->ptxVersion >= 75 && a->ptxVersion <= 90
                          ? cudaSuccess
                          : cudaErrorNoKernelImageForDevice);
}
int emu_first_capability() { return 80; }

void emu_launch(cudaStream_t s, const char *what, const void *entry, dim3 grid,
                dim3 threads, size_t shared, bool early, std::function<void()> kernel)
{
    emu_enqueue(s, what, grid, threads, early, [=](const emu_place &place) mutable {
        const size_t own = run_block(what, kernel, shared, place);
        /* Together 48 KiB unless more was asked for, and then what devices before 8.0
         * have, all devices before 9.0, or those of 9.0. */
        if (own + shared > 48 << 10 && shared > allowed[entry])
            die("%s: %zu bytes of shared memory and %zu of its own, not asked for", what,
                shared, own);
        const int of = emu_capability(), most = of < 80 ? 64 : of < 90 ? 99 : 227;
        if (own + shared > (size_t)most << 10)
            die("%s: %zu bytes of shared memory and %zu of its own", what, shared, own);
    });
}

void *emu_shared(const char *file, int line, size_t bytes)
{
    for (const shared_array &a : block.arrays)
        if (a.file == file && a.line == line && a.bytes == bytes) return a.p;
    char *p = poisoned(bytes);
    if (!p) die("no memory");
    block.arrays.push_back({ file, line, bytes, p });
    return p;
}

unsigned char *emu_shared_bytes()
{
    if (!block.asked && !(block.asked = poisoned(block.asked_bytes))) die("no memory");
    return (unsigned char *)block.asked;
}

/* ---- Operations of a warp
 * -------------------------------------------------------------- */

void emu_vote(void *const args[32])
{
    unsigned all = 0;
    for (int i = 0; i < 32; i++) all |= ((emu_exchange<unsigned> *)args[i])->v << i;
    for (int i = 0; i < 32; i++) ((emu_exchange<unsigned> *)args[i])->result = all;
}

struct byte_operands {
    int *c;
    uint32_t a[2], b;
    bool a_unsigned, b_unsigned;
};

static int byte_of(uint32_t word, int i, bool is_unsigned)
{
    return is_unsigned ? (uint8_t)(word >> 8 * i) : (int8_t)(word >> 8 * i);
}

/* Fragments: "Matrix fragments for mma.m16n8k16" in the PTX ISA, for 8-bit integers. */
static void mma_8(void *const args[32])
{
    int a[16][16], b[8][16];
    for (int lane = 0; lane < 32; lane++) {
        const byte_operands *m = (byte_operands *)args[lane];
        const int row = lane / 4;
        for (int k = 0; k < 4; k++) {
            const int column = lane % 4 * 4 + k;
            a[row][column] = byte_of(m->a[0], k, m->a_unsigned);
            a[row + 8][column] = byte_of(m->a[1], k, m->a_unsigned);
            b[row][column] = byte_of(m->b, k, m->b_unsigned);
        }
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            const int *row = a[lane / 4 + i / 2 * 8], *column = b[2 * (lane % 4) + i % 2];
            int sum = 0;
            for (int k = 0; k < 16; k++) sum += row[k] * column[k];
            ((byte_operands *)args[lane])->c[i] += sum;
        }
}

void emu_mma_8_k16(int c[4], uint32_t a0, uint32_t a1, uint32_t b0, bool a_unsigned,
                   bool b_unsigned)
{
    byte_operands m = { c, { a0, a1 }, b0, a_unsigned, b_unsigned };
    emu_warp("mma", mma_8, &m);
}

struct half_operands {
    float *c;
    const uint32_t *a, *b;
    bool bfloat;
};

static float half_of(uint32_t word, int i, bool bfloat)
{
    const uint16_t h = (uint16_t)(word >> 16 * i);
    return bfloat ? bf16_to_f32(h) : f16_to_f32(h);
}

/* c += a b for each lane's four.  Products are exact, their sum is rounded once. */
template <class operands, int depth>
static void float_sums(void *const args[32], const float (&a)[16][depth],
                       const float (&b)[8][depth])
{
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            float *c = &((operands *)args[lane])->c[i];
            const float *row = a[lane / 4 + i / 2 * 8],
                        *column = b[2 * (lane % 4) + i % 2];
            double sum = *c;
            for (int k = 0; k < depth; k++) sum += (double)row[k] * (double)column[k];
            *c = (float)sum;
        }
}

/* Fragments: "Matrix fragments for mma.m16n8k16" in the PTX ISA. */
static void mma_16(void *const args[32])
{
    float a[16][16], b[8][16];
    for (int lane = 0; lane < 32; lane++) {
        const half_operands *m = (half_operands *)args[lane];
        const int row = lane / 4;
        for (int i = 0; i < 4; i++) /* both halves of a row, and of one 8 below */
            for (int k = 0; k < 2; k++) {
                const int column = i / 2 * 8 + 2 * (lane % 4) + k;
                a[row + i % 2 * 8][column] = half_of(m->a[i], k, m->bfloat);
                if (i % 2 == 0) b[row][column] = half_of(m->b[i / 2], k, m->bfloat);
            }
    }
    float_sums<half_operands>(args, a, b);
}

void emu_mma_16_k16(float c[4], const uint32_t a[4], const uint32_t b[2], bool bfloat)
{
    half_operands m = { c, a, b, bfloat };
    emu_warp("mma", mma_16, &m);
}

/* Nearest, ties away from zero (cvt.rna); what is no number stays as it is. */
uint32_t emu_tf32(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return (bits & 0x7f800000) == 0x7f800000 ? bits : (bits + 0x1000) & ~0x1fffu;
}

struct tf32_operands {
    float *c;
    const uint32_t *a, *b;
};

static float tf32_number(uint32_t word)
{
    float v;
    if (word & 0x1fff && (word & 0x7f800000) != 0x7f800000)
        die("%s: an operand of mma is not tf32: %08x", block.what, word);
    memcpy(&v, &word, sizeof v);
    return v;
}

/* Fragments: "Matrix fragments for mma.m16n8k8" in the PTX ISA. */
static void mma_tf32(void *const args[32])
{
    float a[16][8], b[8][8];
    for (int lane = 0; lane < 32; lane++) {
        const tf32_operands *m = (tf32_operands *)args[lane];
        const int row = lane / 4, column = lane % 4;
        for (int i = 0; i < 4; i++)
            a[row + i % 2 * 8][column + i / 2 * 4] = tf32_number(m->a[i]);
        for (int i = 0; i < 2; i++) b[row][column + 4 * i] = tf32_number(m->b[i]);
    }
    float_sums<tf32_operands>(args, a, b);
}

void emu_mma_tf32_k8(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    tf32_operands m = { c, a, b };
    emu_warp("mma", mma_tf32, &m);
}

/* ---- Copies to shared memory: done when waited for, unreadable until then
 * -------------- */

void emu_copy_begin(void *shared, const void *global, size_t bytes)
{
    if (((uintptr_t)shared | (uintptr_t)global) % bytes)
        die("%s: a copy of %zu bytes is not aligned to them", block.what, bytes);
    if (!emu_here->waited) emu_read(global, bytes);
    memset(shared, POISON, bytes);
    block.running->copies.push_back({ shared, global, bytes, block.running->group });
}

void emu_copy_end() { block.running->group++; }

void emu_copy_wait(int newest)
{
    thread *t = block.running;
    std::vector<copy> later;
    for (const copy &c : t->copies)
        if (c.group + (unsigned)newest < t->group) memcpy(c.to, c.from, c.bytes);
        else later.push_back(c);
    t->copies.swap(later);
}
