/**
 * The references in `files` (text by path, paths from the repository's root) that lead nowhere, each as
 * `file:line: what is wrong`, in the order of the files. `others` are paths that exist and are not read.
 */
export function checkReferences(files: Record<string, string>, others?: string[]): string[];

/** The anchors that GitHub makes of the headings of a Markdown text. */
export function anchorsOf(markdown: string): string[];
