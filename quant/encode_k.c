/* encode_k.c - the encoders of encode_k.h in plain C. */
#include "encode_ref.h"
#include "search.h"

#define SEARCH(name)  search_##name
#define ENCODER(name) encode_##name
#include "encode_k.h"
