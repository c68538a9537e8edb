import { useEffect } from 'react'
import { useTranslation } from 'react-i18next'

/** Name of the page in the browser's tab. */
export function useTitle(title: string): void {
  const { t } = useTranslation()
  const full = `${title} – ${t('app.name')}`
  useEffect(() => {
    document.title = full
  }, [full])
}
