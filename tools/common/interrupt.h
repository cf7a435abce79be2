/* interrupt.h - Ctrl-C: the first ends what is being computed, the second the program. */
#ifndef TOOLS_INTERRUPT_H
#define TOOLS_INTERRUPT_H

#include "../../libgguf/libgguf.h"

#include <signal.h>
#include <stdbool.h>

/* Handle SIGINT from now on.  *stop becomes 1 with the first one; whoever has ended what
 * there was sets it to 0 again.  A read that waits is not restarted. */
int interrupt_handle(volatile sig_atomic_t **stop, ggf_error *err);

/* Wait until `fd` can be read.  False: *stop is 1, even if it became so just before. */
bool interrupt_or_input(int fd);

#endif
