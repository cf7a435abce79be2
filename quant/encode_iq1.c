/* encode_iq1.c - the encoders of encode_iq1.h in plain C. */
#include "encode_ref.h"

#define SEARCH(name)  search_##name
#define ENCODER(name) encode_##name
#include "encode_iq1.h"
