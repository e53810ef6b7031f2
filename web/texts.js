import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

/** @type {Record<string, Record<string, string>>} by languages */
let texts = {};

/** Fetches the texts of all languages: `histogramMatch` in `locales/<language>/main.json`. */
export async function loadTexts() {
  const answer = await api.fetchApi("/i18n");
  for (const [language, messages] of Object.entries(await answer.json())) {
    texts[language] = flat(messages.histogramMatch ?? {});
  }
}

/**
 * @param {string} key
 * @param {(string | number)[]} values in place of %1, %2, …
 * @returns {string | undefined} in the language of the page, else in English
 */
export function text(key, ...values) {
  const language = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  const found = texts[language]?.[key] ?? texts.en?.[key];
  return found && values.reduce((/** @type {string} */ line, value, index) => line.replace(`%${index + 1}`, `${value}`), found);
}

/** @param {Record<string, any>} messages @returns {Record<string, string>} one level, with dots between the names */
function flat(messages) {
  return Object.fromEntries(
    Object.entries(messages).flatMap(([key, value]) =>
      typeof value === "string" ? [[key, value]] : Object.entries(flat(value)).map(([inner, one]) => [`${key}.${inner}`, one]),
    ),
  );
}
