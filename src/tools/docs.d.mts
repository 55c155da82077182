export function codes(): Record<string, number>;
export function errorsText(): string;
export function typeTexts(): Record<string, string>;
export function apiText(markdown: string): string;
