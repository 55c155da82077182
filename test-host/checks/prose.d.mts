/**
 * The places in `files` (text by path, `.md` or TypeScript) that have a phrase which this project does not use, each as
 * `file:line: "phrase": what to say instead`. `allowed`: sentences that may stay, each with its file.
 */
export function checkProse(files: Record<string, string>, allowed?: [file: string, sentence: string][]): string[];
