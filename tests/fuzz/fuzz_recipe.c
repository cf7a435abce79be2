/* fuzz_recipe.c - any bytes as a plan file: read, or refused in words. */
#include "../../quant/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    recipe *r = NULL;
    ggf_error err = { 0 };
    if (recipe_read(&r, (const char *)bytes, len, "plan", &err)) {
        if (r || !*err.message) __builtin_trap();
        return 0;
    }
    const int type = recipe_type(r, "output.weight");
    if (type != MIX_NO_TYPE && !ggf_type_info((uint32_t)type)) __builtin_trap();
    recipe_free(r);
    return 0;
}
