declare const texts: Record<string, { means: string; cases?: [string, string, string][]; else?: string }>;
export default texts;
