/** For each section, a folder: what each of its rooms may import. */
export const ARROWS: Record<string, Record<string, string>>;

/** The files of the module that the command may import. */
export const SHARED: string[];

/**
 * What is wrong with the imports of the files in `paths`, folders and files below `root`, each as `file: what is wrong`, in
 * the order of the text.
 */
export function checkImports(root: string, paths: string[]): Promise<string[]>;

/** The same for this repository. */
export function checkRepository(): Promise<string[]>;
