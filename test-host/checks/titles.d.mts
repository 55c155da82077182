export function titlesOf(text: string, file?: string): { line: number; title: string }[];
export function checkTitles(text: string, file: string): string[];
