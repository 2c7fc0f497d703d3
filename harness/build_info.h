/* build_info.h: what this program was built from and how, for records and --version.
 *
 * The Makefile defines the strings for the files that include this header, and compiles those
 * again when the revision changes. A build without the Makefile knows none of them. */
#ifndef LOOPMARK_BUILD_INFO_H
#define LOOPMARK_BUILD_INFO_H

#ifndef LOOPMARK_REVISION
#define LOOPMARK_REVISION "unknown" /* git's, 12 digits; "-dirty" at its end: files were changed   \
                                     */
#endif
#ifndef LOOPMARK_COMPILER
#define LOOPMARK_COMPILER "unknown" /* first line of `cc --version` */
#endif
#ifndef LOOPMARK_FLAGS
#define LOOPMARK_FLAGS "unknown" /* optimisation and sanitizers: "-O2 -g" */
#endif

#endif
