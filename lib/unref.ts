/**
 * Lets the process end although this timer is running. In runtimes without processes a timer is a
 * number, and there is nothing to do.
 */
export function unref(timer: { unref(): unknown } | number): void {
  if (typeof timer === 'object') timer.unref()
}
