/* placeholder */
#include "backend.h"
const struct backend libuv_backend = {.name = "libuv"};
