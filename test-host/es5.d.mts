/** The problems in `code`, each as `file:line:column: what is wrong`, in the order of the text. Empty: none was found. */
export function checkEs5(code: string, filename?: string): string[];
