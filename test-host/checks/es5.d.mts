/**
 * The problems in `code`, each as `file:line:column: what is wrong`, in the order of the text. Empty: none was found.
 * `lateNames`: an inner function may use names that are declared below it.
 */
export function checkEs5(code: string, filename?: string, options?: { lateNames?: boolean }): string[];
