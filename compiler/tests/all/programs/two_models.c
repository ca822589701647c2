/* Two models and the runtime's header in one program. */
#include "integers.h"
#include "digits.h"
#include "kiln.h"
#include "digits.h"

#include <stdio.h>

int main(void)
{
    int64_t x[INTEGERS_X_ELEMS(2)] = { 7, -9 }, y[INTEGERS_Y_ELEMS(2)] = { 2, 4 }, dims[4];
    integers_args a = { 0 };
    digits_args d = { 0 };
    a.batch = 2;
    a.x = x;
    a.y = y;
    d.batch = 3;
    digits_input_dims(&d, DIGITS_INPUT_IMAGE, dims);
    if (dims[0] != 3 || dims[1] != 28 || dims[2] != 28 || dims[3] != 1) return 2;
    if (digits_inputs[0].rank != 4 || digits_inputs[0].dims[0] != -1 || digits_inputs[0].dtype != KILN_F32) return 3;
    if (kiln_tensor_index(integers_outputs, INTEGERS_OUTPUTS, "int8_add") != INTEGERS_OUTPUT_INT8_ADD) return 4;
    /* Outputs are missing: refused before anything runs. */
    if (integers_run(&a, NULL, NULL) != KILN_NULL_POINTER) return 5;
    d.batch = 0;
    if (digits_run(&d, NULL, NULL) != KILN_BAD_DIM || digits_workspace_size(&d) != 0) return 6;
    puts(kiln_status_string(KILN_BAD_DIM));
    return 0;
}
