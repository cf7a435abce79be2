/* analyzer.h - included before every source that clang-tidy looks at.
 *
 * The analyzer sees one file at a time and takes it for possible that ggf_fail() returns
 * 0, so that after every failed call it goes on as if nothing had happened.  It returns
 * its second argument, never 0: say so. */
#include "../../libgguf/libgguf.h"

#define ggf_fail(err, code, ...) (ggf_fail(err, code, __VA_ARGS__), (code))

/* And this never but GGF_E_NOMEM. */
#define ggf_no_memory(err) (ggf_no_memory(err), GGF_E_NOMEM)
