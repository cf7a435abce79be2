/* macpeak.h - what this processor's integer units could do if nothing else had to be
 * done: the bound that reading a prompt is held against. */
#ifndef TOOLS_MACPEAK_H
#define TOOLS_MACPEAK_H

/* Products of 8-bit numbers, added up, in 10^9 a second: the best of a few short loops on
 * so many threads, with the instructions that the kernels use.  0 if it is not known for
 * this processor. */
double macpeak(int threads);

#endif
