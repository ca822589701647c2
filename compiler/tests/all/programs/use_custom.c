#include <stdio.h>
#include <stdlib.h>

#include "m.h"

int main(void)
{
    float x[6] = { 0, 1, 2, 3, 4, 5 }, y[12];
    m_args a = { 0 };
    void *workspace;
    int i, status;
    a.batch = 2;
    a.x = x;
    a.y = y;
    if (posix_memalign(&workspace, 64, m_workspace_size(&a) + 64)) return 2;
    if (m_run(&a, workspace, NULL)) return 1;
    for (i = 0; i < 12; i++) printf("%g ", y[i]);
    x[0] = 1e6;
    status = m_run(&a, workspace, NULL);
    printf("%d %s\n", status, kiln_status_string(status));
    free(workspace);
    return 0;
}
