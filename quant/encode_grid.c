/* encode_grid.c - the encoders of encode_grid.h in plain C. */
#include "encode_ref.h"

#define SEARCH(name)  search_##name
#define ENCODER(name) encode_##name
#include "encode_grid.h"
