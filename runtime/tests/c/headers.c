/* kiln.h and the blocks of two generated model headers in one C99 file, in the order that the test chooses. */
#ifdef MODEL_FIRST
#include "model_a.h"
#include "kiln.h"
#include "model_b.h"
#else
#include "kiln.h"
#include "model_a.h"
#include "model_b.h"
#endif
#include "kiln.h"

int sum_of_sizes(void);
int sum_of_sizes(void)
{
    kiln_parallel none = { NULL, NULL };
    kiln_status status = KILN_ASSERT_FAILED;
    return (int)(sizeof none + sizeof status) + (kiln_status_string(status) != NULL);
}
