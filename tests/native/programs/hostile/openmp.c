// Hostile: threads of libgomp, which wait by system calls of its own (-fopenmp).
// Ends: exit 0.
#include <stdio.h>

int main(void) {
    long sum = 0;
#pragma omp parallel for num_threads(4) reduction(+ : sum)
    for (int i = 0; i < 1000; i++) {
        sum += i;
    }
    printf("%ld\n", sum);
    return sum != 499500;
}
