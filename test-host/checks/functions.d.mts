/** File below src/, function, lines that it may have at most, and why. */
export type Exception = [file: string, name: string, lines: number, why: string];

export const EXCEPTIONS: Exception[];

/**
 * What is wrong with the length of the functions of `files`, text by path below src/, each as `file:line: what is wrong`; and
 * with exceptions that are not needed.
 */
export function checkFunctions(files: Record<string, string>, exceptions: Exception[]): string[];
