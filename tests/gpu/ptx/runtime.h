/* runtime.h - CUDA's own names, for the parts of the emulated device that infer/gpu as
 * nvcc compiles it is linked with in place of NVIDIA's runtime. */
#ifndef TESTS_GPU_PTX_RUNTIME_H
#define TESTS_GPU_PTX_RUNTIME_H

#define emu_stream CUstream_st
#define emu_event  CUevent_st
#define emu_graph  CUgraph_st
#define emu_exec   CUgraphExec_st

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <type_traits>

#include <sys/mman.h>

#include "../../../quant/fp.h"
#include "../emulate_place.h"

#endif
