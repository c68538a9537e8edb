import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'

import { App } from './app/App'
import { returnFromProvider } from './api/provider-sign-in'
import { createAppRouter } from './app/router'
import { createServices } from './api/services'
import { takeSignInLink } from './api/sign-in-link'
import { restoreTheme } from './ui/theme'
import { createI18n } from './i18n'

import './styles/tokens.css'
import './styles/base.css'
import './styles/controls.css'
import './styles/layout.css'
import './styles/course.css'
import './styles/students.css'
import './styles/student.css'
import './styles/records.css'
import './styles/members.css'
import './styles/keys.css'
import './styles/settings.css'
import './styles/joining.css'
import './styles/audit.css'
import './styles/failed-events.css'

restoreTheme()
// Before the router reads the address.
const services = createServices(takeSignInLink(), returnFromProvider())

const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no #root')
createRoot(root).render(
  <StrictMode>
    <App services={services} router={createAppRouter()} i18n={createI18n()} />
  </StrictMode>,
)
