/* runtime.cpp - how programs that nvcc has compiled tell a runtime of their kernels, and
 * launch them: "fat binaries" hold the PTX, and names of kernels belong to functions of
 * the host.  ("crt/host_runtime.h" and "fatbinary_section.h" of the toolkit have the
 * calls; the entries of a fat binary begin with a kind, 1 for PTX, and their sizes.) */
#include "ptx.h"

#include <map>

extern "C" {
void **__cudaRegisterFatBinary(void *fat);
void __cudaRegisterFatBinaryEnd(void **handle);
void __cudaUnregisterFatBinary(void **handle);
void __cudaRegisterFunction(void **handle, const char *host, char *device,
                            const char *name, int limit, uint3 *, uint3 *, dim3 *, dim3 *,
                            int *);
cudaError_t __cudaPopCallConfiguration(dim3 *, dim3 *, size_t *, void *);
/* cudaKernel_t, where there is one */
cudaError_t __cudaGetKernel(struct CUkern_st **, const void *);
cudaError_t __cudaLaunchKernel(struct CUkern_st *, dim3, dim3, void **, size_t,
                               cudaStream_t);
}

namespace
{

struct fat_wrapper { /* fatbinary_section.h */
    int magic, version;
    const uint8_t *data;
    void *file;
};
struct fat_header {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes;
};
struct fat_entry {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes;
    uint32_t compressed_bytes;
};
enum { FAT_WRAPPER = 0x466243b1, FAT_BINARY = (int)0xba55ed50, PTX_ENTRY = 1 };

/* Most that a block may ask for, dynamic and static together: "Technical Specifications
 * per Compute Capability" in the programming guide. */
size_t most_shared(int capability)
{
    switch (capability) {
    case 75: return 64 << 10;
    case 80: return 163 << 10;
    case 90: return 227 << 10;
    }
    return 99 << 10;
}

struct launched {
    const ptx::kernel *kernel;
    size_t most_asked = 0; /* by an attribute; else 48 KiB with what is declared */
};

/* Objects tell of themselves before main(). */
struct registry {
    std::vector<std::unique_ptr<ptx::module>> modules;
    std::map<const void *, launched> kernels;
};
registry &all()
{
    static registry *const r = new registry;
    return *r;
}

/* The PTX for the device: of what it can run the latest. */
std::unique_ptr<ptx::module> load(const uint8_t *fat)
{
    const fat_header *h = (const fat_header *)fat;
    if (h->magic != (uint32_t)FAT_BINARY) die("no fat binary");
    const uint8_t *at = fat + h->header_bytes, *const end = at + h->bytes;
    std::string best;
    unsigned best_target = 0;
    while (at < end) {
        const fat_entry *e = (const fat_entry *)at;
        const char *text = (const char *)at + e->header_bytes;
        at += e->header_bytes + e->bytes;
        if (e->kind != PTX_ENTRY) continue;
        if (e->compressed_bytes) die("PTX is compressed: compile with --no-compress");
        const char *target = strstr(text, ".target sm_");
        if (!target) die("PTX without a target");
        const unsigned sm = (unsigned)strtoul(target + 11, NULL, 10);
        if (sm > (unsigned)emu_first_capability() || sm < best_target) continue;
        best_target = sm;
        best.assign(text, strnlen(text, e->bytes));
    }
    if (best.empty()) die("no PTX for a device of %d", emu_first_capability());
    std::unique_ptr<ptx::module> m = ptx::parse(best.c_str());
    ptx::report_on(*m);
    return m;
}

const launched &find(const void *function)
{
    const auto at = all().kernels.find(function);
    if (at == all().kernels.end()) die("a kernel nobody has told of");
    return at->second;
}

} /* namespace */

int emu_first_capability()
{
    static const char *const asked = getenv("PTX_DEVICE");
    static const int n = asked ? atoi(asked) : 90;
    return n;
}

void **__cudaRegisterFatBinary(void *fat)
{
    const fat_wrapper *w = (const fat_wrapper *)fat;
    if (w->magic != FAT_WRAPPER) die("no fat binary");
    all().modules.push_back(load(w->data));
    return (void **)all().modules.back().get();
}

void __cudaRegisterFatBinaryEnd(void **) {}
void __cudaUnregisterFatBinary(void **) {}

void __cudaRegisterFunction(void **handle, const char *host, char *, const char *name,
                            int, uint3 *, uint3 *, dim3 *, dim3 *, int *)
{
    const ptx::module *m = (const ptx::module *)handle;
    for (const auto &k : m->kernels)
        if (k->name == name) {
            all().kernels[host] = { k.get() };
            return;
        }
    die("PTX has no kernel %s", name);
}

/* PTX serves later devices, too, here up to 9.9. */
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *function)
{
    a->ptxVersion = (int)find(function).kernel->of->target;
    return emu_result(emu_capability() >= 75 && emu_capability() < 100
                          ? cudaSuccess
                          : cudaErrorNoKernelImageForDevice);
}

cudaError_t cudaFuncSetAttribute(const void *function, cudaFuncAttribute what, int value)
{
    if (what != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 ||
        value + find(function).kernel->shared > most_shared(emu_capability()))
        return emu_result(cudaErrorInvalidValue);
    all().kernels[function].most_asked = (size_t)value;
    return emu_result(cudaSuccess);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *function,
                                void **args)
{
    const launched &l = find(function);
    const ptx::kernel *const k = l.kernel;
    const size_t shared = c->dynamicSmemBytes;
    bool early = false;
    for (unsigned i = 0; i < c->numAttrs; i++)
        early |= c->attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization &&
                 c->attrs[i].val.programmaticStreamSerializationAllowed;
    if (shared > l.most_asked && shared + k->shared > 48 << 10)
        return emu_result(cudaErrorInvalidValue);
    /* 16 more: parameters may be asked for as vectors. */
    auto params = std::make_shared<std::vector<uint64_t>>(k->param_bytes / 8 + 2);
    for (size_t i = 0; i < k->params.size(); i++)
        memcpy((uint8_t *)params->data() + k->params[i].at, args[i], k->params[i].bytes);
    emu_enqueue(c->stream, k->name.c_str(), c->gridDim, c->blockDim, early,
                [=](const emu_place &place) {
                    emu_place at = place;
                    at.waited = !early;
                    ptx::run(*k, (const uint8_t *)params->data(), shared, at);
                });
    return cudaSuccess;
}

/* What <<<>>> needs, which nobody uses. */
cudaError_t __cudaPopCallConfiguration(dim3 *, dim3 *, size_t *, void *)
{
    die("launched with <<<>>>");
}
cudaError_t __cudaGetKernel(struct CUkern_st **, const void *) { return cudaSuccess; }
cudaError_t __cudaLaunchKernel(struct CUkern_st *, dim3, dim3, void **, size_t,
                               cudaStream_t)
{
    die("launched with <<<>>>");
}
cudaError_t cudaLaunchKernel(const void *, dim3, dim3, void **, size_t, cudaStream_t)
{
    die("launched with <<<>>>");
}
