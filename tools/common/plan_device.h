/* plan_device.h - the part of a plan that is about a device. */
#ifndef TOOLS_PLAN_DEVICE_H
#define TOOLS_PLAN_DEVICE_H

#include "../../infer/experts/trace.h"
#include "out.h"
#include "plan.h"
#include "table.h"

/* Does a device compute some of it? */
bool device_plan_has(const struct placement_plan *p);
/* Of the experts that have slots, the share that has room in them at once. */
double device_plan_share(const struct placement_plan *p);
/* Measure the device, and say what that allows; p->speeds and hit rates are known. */
int device_plan_predict(struct placement_plan *p, const struct trace_model *own,
                        ggf_error *err);

/* A row of what, size, where. */
void plan_row(struct table *t, const char *what, uint64_t bytes, const char *where);
void device_plan_rows(const struct placement_plan *p, struct table *t,
                      const char *context);
/* How much of its memory may be taken; or why there is none. */
void device_plan_print(const struct placement_plan *p, FILE *f);
void device_plan_print_token(const struct placement_plan *p, FILE *f);
void device_plan_json(const struct placement_plan *p, struct json *j);

#endif
