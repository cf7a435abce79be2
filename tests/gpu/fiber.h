/* fiber.h - stacks that take turns on one thread; for emulate_block.cpp. */
#ifndef TESTS_GPU_FIBER_H
#define TESTS_GPU_FIBER_H

#include <cstddef>

#include <sys/mman.h>
#include <ucontext.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

/* One end of a switch: where its stack was left. */
struct fiber_context {
#ifdef __x86_64__
    void *sp;
#else
    ucontext_t context;
#endif
    void *fake; /* AddressSanitizer's */
    const void *bottom;
    size_t bytes;
};

#ifdef __x86_64__
/* Saves what a call must keep, changes stacks, restores.  ucontext would do the same with
 * two system calls.  The end is a jump, since processors guess a return by the calls of
 * the stack that was left, and are always wrong. */
extern "C" void fiber_swap(void **from_sp, void *to_sp);
asm(".text\n"
    ".type fiber_swap, @function\n"
    "fiber_swap:\n"
    "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
    "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n    popq %r14\n    popq %r13\n"
    "    popq %r12\n    popq %rbx\n    popq %rbp\n"
    "    popq %rcx\n    jmp *%rcx\n"
    ".size fiber_swap, .-fiber_swap\n");
#endif

/* Until somebody switches back.  ended: `from` will not run again. */
static inline void fiber_switch(fiber_context *from, fiber_context *to, bool ended)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(ended ? NULL : &from->fake, to->bottom, to->bytes);
#else
    (void)ended;
#endif
#ifdef __x86_64__
    fiber_swap(&from->sp, to->sp);
#else
    swapcontext(&from->context, &to->context);
#endif
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(from->fake, NULL, NULL);
#endif
}

/* What a fiber does first.  back: whoever switched to it, whose stack becomes known. */
static inline void fiber_arrived(fiber_context *back)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(NULL, &back->bottom, &back->bytes);
#else
    (void)back;
#endif
}

/* The next switch to f calls main(), which must not return. */
static inline void fiber_prepare(fiber_context *f, void *stack, size_t bytes,
                                 void (*main)())
{
    f->bottom = stack;
    f->bytes = bytes;
    f->fake = NULL;
#ifdef __x86_64__
    void **sp = (void **)((char *)stack + bytes);
    *--sp = NULL; /* so that main() finds the stack as after a call */
    *--sp = (void *)main;
    sp -= 6;
    f->sp = sp;
#else
    getcontext(&f->context);
    f->context.uc_stack.ss_sp = stack;
    f->context.uc_stack.ss_size = bytes;
    f->context.uc_link = NULL;
    makecontext(&f->context, main, 0);
#endif
}

#endif
