/* check.cpp - the machine itself: what it computes for small programs, and that it sees
 * what is wrong with others. */
#include "ptx.h"

#include "../../unit/suite.h"
#include "../emulator.h"

#include <sys/wait.h>
#include <unistd.h>

/* A kernel with one parameter, a pointer in %rd1, and its thread's number in %r1; 4 bytes
 * for each of 64 threads are at %rd2. */
static std::string kernel(const char *body, const char *outside = "")
{
    return std::string(".version 9.0\n.target sm_90\n.address_size 64\n") + outside +
           ".entry test(.param .u64 test_p)\n{\n"
           ".reg .pred %p<9>; .reg .b32 %r<30>; .reg .b64 %rd<30>; .reg .f32 %f<9>;\n"
           ".shared .align 16 .b8 s[512];\n"
           "ld.param.u64 %rd1, [test_p];\nmov.u32 %r1, %tid.x;\n"
           "mul.wide.u32 %rd9, %r1, 4;\nadd.s64 %rd2, %rd1, %rd9;\n" +
           body + "ret;\n}\n";
}

enum { THREADS = 64, TIMES = 32 };

/* Some of the launches look for races. */
static void run_times(const std::string &text, uint32_t *v, bool early,
                      unsigned blocks = 1)
{
    const auto m = ptx::parse(text.c_str());
    const uint64_t params[3] = { (uint64_t)v };
    emu_place place = {};
    place.threads = dim3(THREADS, 1, 1);
    place.blocks = dim3(blocks, 1, 1);
    place.waited = !early;
    for (int i = 0; i < TIMES; i++)
        for (place.block.x = 0; place.block.x < blocks; place.block.x++)
            ptx::run(*m->kernels[0], (const uint8_t *)params, 0, place);
}

static uint32_t *memory(unsigned words = THREADS)
{
    void *p;
    ck_assert_int_eq(cudaMalloc(&p, words * 4), cudaSuccess);
    memset(p, 0, words * 4);
    return (uint32_t *)p;
}

/* What it says before it ends; nothing, if it does not. */
static std::string complaint(const std::string &text, bool early = false,
                             unsigned blocks = 1)
{
    int ends[2];
    char what[1000] = "";
    ck_assert_int_eq(pipe(ends), 0);
    const pid_t child = fork();
    if (!child) {
        dup2(ends[1], 2);
        run_times(text, memory(blocks * THREADS + blocks - 1), early, blocks);
        _exit(0);
    }
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got; (got = read(ends[0], what + n, sizeof what - 1 - n)) > 0;)
        n += (size_t)got;
    close(ends[0]);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(n == 0, WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return what;
}
#define ck_fine(...)                                                                     \
    do {                                                                                 \
        const std::string said = __VA_ARGS__;                                            \
        ck_assert_msg(said.empty(), "said: %s", said.c_str());                           \
    } while (0)
#define ck_says(text, what)                                                              \
    do {                                                                                 \
        const std::string said = complaint(text);                                        \
        ck_assert_msg(strstr(said.c_str(), what) != NULL, "said: %s", said.c_str());     \
    } while (0)

/* ---- What programs compute ------------------------------------------------------- */

/* Lane l goes round l times; then they meet for a sum. */
START_TEST(lanes_part_and_meet)
{
    uint32_t *v = memory();
    run_times(kernel("and.b32 %r2, %r1, 31; mov.u32 %r3, 0; mov.u32 %r4, 0;\n"
                     "loop: setp.ge.u32 %p1, %r4, %r2; @%p1 bra done;\n"
                     "add.u32 %r4, %r4, 1; add.u32 %r3, %r3, %r4; bra loop;\n"
                     "done: shfl.sync.bfly.b32 %r5|%p2, %r3, 1, 31, -1;\n"
                     "add.u32 %r5, %r5, %r3; st.global.u32 [%rd2], %r5;\n"),
              v, false);
    for (uint32_t i = 0; i < THREADS; i++) {
        const uint32_t a = i % 32, b = a ^ 1;
        ck_assert_uint_eq(v[i], a * (a + 1) / 2 + b * (b + 1) / 2);
    }
}
END_TEST

/* Some lanes call, later than others. */
START_TEST(functions_return)
{
    uint32_t *v = memory();
    run_times(kernel("{ .param .b32 a; .param .b32 r; st.param.b32 [a], %r1;\n"
                     "call.uni (r), twice, (a); ld.param.b32 %r2, [r]; }\n"
                     "st.global.u32 [%rd2], %r2;\n",
                     ".func (.param .b32 out) twice(.param .b32 x)\n{\n"
                     ".reg .pred %p<2>; .reg .b32 %r<4>;\n"
                     "ld.param.u32 %r1, [x]; setp.lt.u32 %p1, %r1, 7;\n"
                     "mul.lo.u32 %r2, %r1, 2; st.param.b32 [out], %r2; @%p1 ret;\n"
                     "add.u32 %r2, %r2, 100; st.param.b32 [out], %r2; ret;\n}\n"),
              v, false);
    for (uint32_t i = 0; i < THREADS; i++)
        ck_assert_uint_eq(v[i], 2 * i + (i < 7 ? 0 : 100));
}
END_TEST

START_TEST(reductions_add)
{
    uint32_t *v = memory();
    run_times(kernel("st.global.u32 [%rd2], 5; red.global.add.u32 [%rd2], %r1;\n"
                     "mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r2, %r2, %r3;\n"
                     "st.shared.u32 [%r2], %r1; red.shared.add.u32 [%r2], 100;\n"
                     "ld.shared.u32 %r4, [%r2]; red.global.add.u32 [%rd2], %r4;\n"),
              v, false);
    for (uint32_t i = 0; i < THREADS; i++) ck_assert_uint_eq(v[i], 105 + 2 * i);
}
END_TEST

/* What was copied is there when it was waited for, and not before. */
START_TEST(copies_take_their_time)
{
    uint32_t *v = memory();
    for (uint32_t i = 0; i < THREADS; i++) v[i] = i;
    run_times(kernel("mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r2, %r2, %r3;\n"
                     "cp.async.ca.shared.global [%r2], [%rd2], 4;\n"
                     "cp.async.commit_group; ld.shared.u32 %r4, [%r2];\n"
                     "cp.async.wait_group 0; ld.shared.u32 %r5, [%r2];\n"
                     "sub.u32 %r5, %r4, %r5; st.global.u32 [%rd2], %r5;\n"
                     "add.u32 %r5, %r5, %r1; @!%p1 add.u32 %r5, %r5, 0;\n"
                     "ld.global.u32 %r6, [%rd2]; sub.u32 %r6, %r4, %r6;\n"
                     "st.global.u32 [%rd2], %r6;\n"),
              v, false);
    for (uint32_t i = 0; i < THREADS; i++) ck_assert_uint_eq(v[i], i);
}
END_TEST

/* ---- What is wrong with programs ------------------------------------------------- */

/* Thread t writes its word and reads that of t ^ `partner`. */
static std::string exchange(const char *partner, const char *between)
{
    return kernel((std::string("mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r3, %r3, "
                               "%r2; xor.b32 %r4, %r1, ") +
                   partner +
                   "; shl.b32 %r4, %r4, 2; add.u32 %r4, %r4, %r2;\n"
                   "st.shared.u32 [%r3], %r1;\n" +
                   between + "ld.shared.u32 %r5, [%r4];\n")
                      .c_str());
}

START_TEST(races)
{
    ck_says(exchange("32", ""), "races with");
    ck_says(exchange("32", "bar.warp.sync -1;\n"), "races with");
    ck_fine(complaint(exchange("32", "bar.sync 0;\n")));
    ck_says(exchange("1", ""), "races with");
    ck_fine(complaint(exchange("1", "bar.warp.sync -1;\n")));
    ck_fine(complaint(exchange("0", "")));
    ck_says(kernel("mov.u32 %r2, s; st.shared.u32 [%r2], %r1;\n"), "races with");
}
END_TEST

/* Of two blocks, each with 64 words, every thread writes one; they count themselves, and
 * the one that comes last reads the words of the other, each thread one that neither it
 * nor its warp would have written. */
static std::string last_block(const char *before, const char *behind,
                              const char *counted = "")
{
    const char *const words =
        "mov.u32 %r2, %ctaid.x; mul.wide.u32 %rd3, %r2, 256; add.s64 %rd4, %rd2, %rd3;\n"
        "xor.b32 %r3, %r2, 1; mul.wide.u32 %rd5, %r3, 256; add.s64 %rd5, %rd5, %rd1;\n"
        "xor.b32 %r4, %r1, 33; mul.wide.u32 %rd6, %r4, 4; add.s64 %rd5, %rd5, %rd6;\n"
        "setp.ne.u32 %p1, %r1, 0; mov.u32 %r5, s; st.global.u32 [%rd4], %r1;\n";
    const char *const counts =
        "@%p1 bra counted; atom.global.inc.u32 %r6, [%rd1+512], 1;\n"
        "st.shared.u32 [%r5], %r6;\ncounted:\n";
    const char *const last = "bar.sync 0; ld.shared.u32 %r6, [%r5];\n"
                             "setp.ne.u32 %p2, %r6, 1; @%p2 bra out;\n";
    return kernel((std::string(words) + before + counts + counted + last + behind +
                   "ld.global.u32 %r7, [%rd5];\nout:\n")
                      .c_str());
}
static std::string of_two_blocks(const std::string &text)
{
    return complaint(text, false, 2);
}
#define ck_race(text, what)                                                              \
    do {                                                                                 \
        const std::string said = of_two_blocks(text);                                    \
        ck_assert_msg(said.find("races with") != said.npos &&                            \
                          said.find("which " what) != said.npos,                         \
                      "said: %s", said.c_str());                                         \
    } while (0)

/* The fence before the count may be each thread's, with a barrier behind it, or of the
 * one who counts, with a barrier before it; and the other way round for who reads. */
START_TEST(blocks_in_order)
{
    const char *const each = "membar.gl; bar.sync 0;\n",
                      *const one = "bar.sync 0; @!%p1 membar.gl;\n";
    for (const char *before : { each, one })
        for (const char *behind : { "membar.gl;\n", "@!%p1 membar.gl; bar.sync 0;\n" })
            ck_fine(of_two_blocks(last_block(before, behind)));
    ck_fine(of_two_blocks(kernel("st.global.u32 [%rd2], %r1;\n")));
}
END_TEST

START_TEST(blocks_that_race)
{
    const char *const fence = "membar.gl;\n", *const both = "membar.gl; bar.sync 0;\n";
    ck_race(last_block("bar.sync 0;\n", fence), "wrote");
    ck_race(last_block(fence, fence), "wrote");
    ck_race(last_block(fence, "membar.gl; setp.lt.u32 %p3, %r1, 32; @%p3 bra out;\n"),
            "wrote");
    ck_race(last_block("@!%p1 membar.gl; bar.sync 0;\n", fence), "wrote");
    ck_race(last_block(both, ""), "wrote");
    ck_race(last_block(both, "@!%p1 membar.gl;\n"), "wrote");
    ck_race(last_block("", "membar.gl; bar.sync 0;\n"), "wrote");
    ck_race(last_block(both, "", "@%p1 membar.gl;\n"), "wrote");
    ck_race(kernel("mov.u32 %r2, %ctaid.x; st.global.u32 [%rd2], %r2;\n"), "wrote");
    ck_race(kernel("mov.u32 %r2, %ctaid.x; setp.ne.u32 %p1, %r2, 0;\n"
                   "@!%p1 ld.global.u32 %r3, [%rd2];\n"
                   "@%p1 st.global.u32 [%rd2], %r1;\n"),
            "read");
}
END_TEST

/* In memory of the device, each block for itself. */
START_TEST(threads_that_race)
{
    const std::string put = "xor.b32 %r2, %r1, 32; mul.wide.u32 %rd3, %r2, 4;\n"
                            "add.s64 %rd3, %rd3, %rd1; st.global.u32 [%rd2], %r1;\n",
                      get = "ld.global.u32 %r3, [%rd3];\n";
    ck_says(kernel((put + get).c_str()), "races with");
    ck_fine(complaint(kernel((put + "bar.sync 0;\n" + get).c_str())));
}
END_TEST

START_TEST(memory_that_is_not_there)
{
    ck_says(kernel("st.global.u32 [%rd2+4], %r1;\n"), "not in an allocation");
    ck_says(kernel("ld.global.v2.u32 {%r2, %r3}, [%rd2];\n"), "not aligned");
    ck_says(kernel("mov.u32 %r2, s; ld.shared.u32 %r3, [%r2+512];\n"), "shared ones");
}
END_TEST

START_TEST(lanes_that_do_not_come)
{
    ck_says(kernel("setp.lt.u32 %p1, %r1, 7; @%p1 bra out;\n"
                   "shfl.sync.bfly.b32 %r5|%p2, %r1, 1, 31, -1;\nout:\n"),
            "not all lanes come");
    ck_says(kernel("setp.lt.u32 %p1, %r1, 7; @%p1 bra other;\n"
                   "bar.warp.sync -1; bra out;\nother: bar.warp.sync -1;\nout:\n"),
            "not all lanes come");
}
END_TEST

START_TEST(kernels_that_start_early)
{
    const char *const wait = "griddepcontrol.wait;\n",
                      *const put = "st.global.u32 [%rd2], %r1;\n",
                      *const get = "ld.global.u32 %r2, [%rd2];\n";
    const std::string w = wait;
    ck_fine(complaint(kernel((w + put).c_str()), true));
    ck_assert_ptr_nonnull(strstr(complaint(kernel((put + w).c_str()), true).c_str(),
                                 "writes before it has waited"));
    ck_assert_ptr_nonnull(
        strstr(complaint(kernel((get + w).c_str()), true).c_str(), "did not put there"));
    ck_assert_ptr_nonnull(strstr(complaint(kernel(""), true).c_str(), "has not waited"));
}
END_TEST

int main()
{
    TCase *tc = tcase_create("machine");
    tcase_add_test(tc, lanes_part_and_meet);
    tcase_add_test(tc, functions_return);
    tcase_add_test(tc, reductions_add);
    tcase_add_test(tc, copies_take_their_time);
    tcase_add_test(tc, races);
    tcase_add_test(tc, blocks_in_order);
    tcase_add_test(tc, blocks_that_race);
    tcase_add_test(tc, threads_that_race);
    tcase_add_test(tc, memory_that_is_not_there);
    tcase_add_test(tc, lanes_that_do_not_come);
    tcase_add_test(tc, kernels_that_start_early);
    TCase *const all[] = { tc, NULL };
    return suite_run("ptx", all);
}
