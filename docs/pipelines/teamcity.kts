// TeamCity: a build configuration for .teamcity/settings.kts. In a Kotlin string, ${'$'} is a dollar sign; to TeamCity, %%
// is a percent sign.
import jetbrains.buildServer.configs.kotlin.*
import jetbrains.buildServer.configs.kotlin.buildFeatures.XmlReport
import jetbrains.buildServer.configs.kotlin.buildFeatures.xmlReport
import jetbrains.buildServer.configs.kotlin.buildSteps.script

version = "2025.07"

project {
    buildType(Clanforge)
}

object Clanforge : BuildType({
    name = "Clanforge"
    params {
        text("env.JOBS", "", description = "Jobs such as update/77, separated by blanks or commas")
        param("env.FORGEWATCH_ACCOUNT_SERVICE_ID", "5678")
        // Set the values in the build configuration: TeamCity replaces them by tokens here.
        password("env.FORGEWATCH_ACCESS_KEY", "credentialsJSON:access-key")
        password("env.FORGEWATCH_SECRET_KEY", "credentialsJSON:secret-key")
    }
    steps {
        script {
            name = "Wait for Clanforge"
            scriptContent = """
                printf '%%s\n' "${'$'}JOBS" | tr -s ' ,' '\n\n' |
                    forgewatch watch --until-done --jobs-file - --timeout 2h --report junit=forgewatch.xml
            """.trimIndent()
        }
    }
    features {
        xmlReport {
            reportType = XmlReport.XmlReportType.JUNIT
            rules = "forgewatch.xml"
        }
    }
})
